//! The environment variables that the program reads, in whichever crate, other than those that stand for a flag of
//! `irsa webhook`. A crate that reads one names it by its constant; `docs/environment.md` is made from here.

/// A variable of the process's environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Which commands read it.
    pub read_by: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

macro_rules! variables {
    ($($name:ident, $read_by:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: &str = stringify!($name);
        )*

        /// All of them, in the order of their names.
        pub const ALL: &[Variable] = &[
            $(Variable { name: $name, read_by: $read_by, meaning: $meaning },)*
        ];
    };
}

variables! {
    AWS_EC2_METADATA_SERVICE_ENDPOINT, "`irsa webhook`",
        "address of the instance metadata service, which `--compose-role-arn` asks; `http://169.254.169.254` if unset";
    CLICOLOR, "all commands", "`0` switches colour off, as `--color never`";
    CLICOLOR_FORCE, "all commands", "any value but `0` switches colour on, even where output is piped";
    COLUMNS, "all commands", "width to which tables and text are laid out; the terminal's if unset";
    HOME, "commands on a cluster", "where `.kube/config` is looked for if neither `--kubeconfig` nor `KUBECONFIG` is set";
    HTTPS_PROXY, "commands on a cluster, `irsa webhook`",
        "proxies to the API server are not supported: commands fail if this is set";
    IRSA_COMPLETE, "the scripts of `irsa completion`", "shell that asks for completions; set by those scripts only";
    IRSA_LAB_DIR, "`irsa lab`", "folder of the lab; as `--state-dir`";
    IRSA_POLL_INTERVAL_MS, "`irsa rollout`", "milliseconds between two looks at a workload; 1000 if unset";
    KUBECONFIG, "commands on a cluster, `irsa webhook`", "kubeconfig files, separated by colons; `--kubeconfig` wins";
    KUBERNETES_SERVICE_HOST, "commands on a cluster, `irsa webhook`",
        "address of the API server in a pod, used if there is no kubeconfig";
    KUBERNETES_SERVICE_PORT, "commands on a cluster, `irsa webhook`", "its port";
    NO_COLOR, "all commands", "any value switches colour off, as `--color never`";
    PATH, "`irsa demo`, `irsa lab`", "where `kubectl`, AWS SDKs and the commands of `irsa lab run` are found";
    TERM, "all commands", "`dumb` switches colour off";
    TMPDIR, "`irsa demo`, `irsa lab`", "where temporary folders are made";
    XDG_RUNTIME_DIR, "`irsa lab`", "parent of the lab's folder if `IRSA_LAB_DIR` is unset; `TMPDIR` otherwise";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_listed_once_and_in_order() {
        assert!(ALL.is_sorted_by(|a, b| a.name < b.name));
    }
}
