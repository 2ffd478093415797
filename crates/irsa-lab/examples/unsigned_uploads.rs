//! Plays an attack on the S3 of the lab: many unsigned uploads at once. Prints the peak of the resident memory.
//!
//! `cargo run --release -p irsa-lab --example unsigned_uploads [-- CLIENTS MIB]`; figures in docs/performance-sts.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use irsa_lab::proxy;
use irsa_lab::standalone::{Doors, Standalone};
use irsa_sts::config::Account;
use irsa_sts::{Aws, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| {
        arguments
            .next()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (clients, size) = (number(30), number(59) << 20);
    let aws = Aws::new(Config {
        accounts: vec![Account::new("111122223333")],
        ..Config::default()
    })
    .unwrap();
    for host in ["s3.us-west-2.amazonaws.com", "sts.us-west-2.amazonaws.com"] {
        let doors = Doors {
            proxy: proxy::Config::default(),
            plain: vec![(host.to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))],
        };
        let standalone = Standalone::start(aws.clone(), doors).await.unwrap();
        let (_, address) = standalone.plain()[0].clone();
        let before = memory("VmRSS");
        let begun = Instant::now();
        let uploads = (0..clients).map(|_| tokio::spawn(upload(address, host, size)));
        let mut answers = std::collections::BTreeMap::new();
        for status in futures::future::join_all(uploads).await {
            *answers.entry(status.unwrap()).or_insert(0) += 1;
        }
        let took = begun.elapsed();
        tokio::time::sleep(Duration::from_secs(2)).await;
        println!(
            "{host}: {clients} unsigned bodies of {} MiB in {:.1} s: answers {answers:?}; resident {} MiB before, {} \
             MiB two seconds after, peak of the process so far {} MiB",
            size >> 20,
            took.as_secs_f32(),
            before >> 10,
            memory("VmRSS") >> 10,
            memory("VmHWM") >> 10,
        );
        standalone.shutdown().await;
    }
}

/// Sends a body in pieces; the status of the answer, or `closed`.
async fn upload(address: SocketAddr, host: &str, size: usize) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /bucket/key HTTP/1.1\r\nhost: {host}\r\ncontent-length: {size}\r\n\r\n");
    let (mut reader, mut writer) = stream.split();
    let send = async {
        writer.write_all(head.as_bytes()).await?;
        for _ in 0..size / PIECE.len() {
            writer.write_all(&PIECE).await?;
        }
        std::io::Result::Ok(())
    };
    let mut answer = vec![0; 4096];
    let receive = reader.read(&mut answer);
    // The answer may come while the body is being sent.
    let (_, read) = tokio::join!(send, receive);
    let read = read.unwrap_or(0);
    let line = String::from_utf8_lossy(&answer[..read]);
    line.split(' ').nth(1).unwrap_or("closed").to_owned()
}

/// A line of `/proc/self/status`, in KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}
