//! Starts an embedded cluster and leaves it up: `cargo run -p irsa-apiserver --example serve -- /tmp/kubeconfig`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use irsa_apiserver::{ApiServer, Config};

#[tokio::main]
async fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: serve KUBECONFIG-TO-WRITE [address:port]");
        return ExitCode::from(2);
    };
    let mut config = Config::default();
    if let Some(listen) = std::env::args().nth(2) {
        match listen.parse() {
            Ok(listen) => config.listen = listen,
            Err(error) => {
                eprintln!("{listen}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    let server = match ApiServer::start(config).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = std::fs::write(&path, server.kubeconfig()) {
        eprintln!("{path}: {error}");
        return ExitCode::from(2);
    }
    println!("export KUBECONFIG={path}");
    let _ = tokio::signal::ctrl_c().await;
    server.shutdown().await;
    ExitCode::SUCCESS
}
