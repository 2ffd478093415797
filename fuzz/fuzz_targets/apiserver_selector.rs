//! Label and field selectors: a label selector that was read prints as one that reads as the same.
#![no_main]

use irsa_apiserver::selectors::{FieldSelector, LabelSelector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(selector) = LabelSelector::parse(text) {
        let printed = selector.to_string();
        assert_eq!(LabelSelector::parse(&printed).as_ref(), Ok(&selector), "{printed:?}");
    }
    let _ = FieldSelector::parse(text);
});
