//! `irsa uninstall`: the objects that `irsa install` printed, for `kubectl delete -f -`.

use std::process::ExitCode;

use crate::commands::install;
use crate::output::Output;

/// Print the objects of an installation, for kubectl delete --ignore-not-found -f -
///
/// Pass the same flags as to `irsa install`; --image and --region are not needed. The MutatingWebhookConfiguration is
/// deleted first, so that the API server never calls a webhook that does not run any more. Running pods keep their
/// settings. New pods get no identity from then on, unless another webhook provides it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    install: install::Args,
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let plan = args.install.plan(None)?;
    install::print(&install::removal(&plan), args.install.output, output)?;
    if output.is_terminal() {
        output.note("\nNothing has been changed. To uninstall: irsa uninstall … | kubectl delete --ignore-not-found -f -")?;
    }
    Ok(ExitCode::SUCCESS)
}
