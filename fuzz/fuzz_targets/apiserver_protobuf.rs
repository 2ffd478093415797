//! Objects in Kubernetes' protobuf form: an object or an error, never a panic, and no runaway recursion.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = irsa_apiserver::protobuf::decode(data);
    // Most of what is interesting lies behind the four bytes that every object begins with.
    let _ = irsa_apiserver::protobuf::decode(&[b"k8s\0", data].concat());
});
