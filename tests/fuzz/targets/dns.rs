#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dnstrace_fuzz::dns::check(data));
