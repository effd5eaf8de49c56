//! Policy files: whatever the text, it is a policy or a list of mistakes with lines that the text has.
#![no_main]

use labwatch_notifier::policy::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // The same text serves as the file of seats.
    if let Err(file::Mistakes(mistakes)) = file::read(text, |_| Ok(text.to_owned())) {
        let lines = text.matches('\n').count() + 1;
        assert!(!mistakes.is_empty() && mistakes.iter().all(|mistake| (1..=lines).contains(&mistake.line)));
    }
});
