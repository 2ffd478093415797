//! Bytes as CloudTrail records in any of their forms, compressed or not: counted or named as damaged, never a panic.
#![no_main]

use irsa_trail::read::{Outcome, stream};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut outcome = Outcome::default();
    stream("input", bytes, &mut outcome);
    assert_eq!(outcome.files, 1);
});
