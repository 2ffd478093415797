//! `irsa uninstall`: the objects that `irsa install` printed, for `kubectl delete -f -`.

use std::process::ExitCode;

use crate::commands::install;
use crate::output::Output;

/// Print what takes the webhook away again, for kubectl delete --ignore-not-found -f -
///
/// Takes the flags of `irsa install`. The MutatingWebhookConfiguration comes first, so that at no moment the API server
/// asks a webhook that is gone. Running pods keep what they were given; new ones get no identity from then on, unless
/// another webhook gives it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    install: install::Args,
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let plan = args.install.plan()?;
    install::print(&install::removal(&plan), args.install.output, output)?;
    if output.is_terminal() {
        output.note("\nNothing has been changed. To uninstall: irsa uninstall … | kubectl delete --ignore-not-found -f -")?;
    }
    Ok(ExitCode::SUCCESS)
}
