//! Decodes whatever the fuzzer comes up with as one of the messages, the first byte says which. What is no message has
//! to be an error; what is one has to come back from its bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../tests/messages/kinds.rs"]
mod kinds;

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    let of = &kinds::TYPES[usize::from(*which) % kinds::TYPES.len()];
    if let Ok(again) = (of.recode)(bytes) {
        let thrice = (of.recode)(&again).map_err(|error| error.to_string());
        assert_eq!(thrice.as_ref(), Ok(&again), "{}", of.name);
    }
});
