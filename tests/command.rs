//! The command as such: help, usage errors, completion, closed pipes.

use std::process::{Command as Process, Stdio};

use assert_cmd::Command;

fn irsa() -> Command {
    Command::new(env!("CARGO_BIN_EXE_irsa"))
}

#[test]
fn a_wrong_argument_is_a_usage_error_with_exit_code_2() {
    let output = irsa().arg("no-such-command").assert().code(2);
    let text = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        text.contains("unrecognized subcommand 'no-such-command'"),
        "{text}"
    );
}

#[test]
fn help_goes_to_standard_output_with_exit_code_0() {
    let output = irsa().arg("--help").assert().success();
    assert!(!output.get_output().stdout.is_empty());
    assert!(output.get_output().stderr.is_empty());
}

#[test]
fn every_shell_gets_a_completion_script_that_names_the_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = irsa().args(["completion", shell]).assert().success();
        assert!(
            String::from_utf8_lossy(&output.get_output().stdout).contains("irsa"),
            "{shell}"
        );
    }
}

#[test]
fn irsa_exits_cleanly_when_stdout_is_closed_early() {
    let mut child = Process::new(env!("CARGO_BIN_EXE_irsa"))
        .args(["explain", "-r", "us-west-2", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before anything is read: the document is longer than the buffer in front of the pipe.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{}", output.status);
}
