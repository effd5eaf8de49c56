//! Foreign text made harmless for a terminal, a log line or a pop-up.
//!
//! Names of devices, hosts, programs and domains are written by strangers. Printed as they come they could
//! move the cursor, recolour or clear the screen, turn the reading order round (CVE-2021-42574), hide letters
//! or forge a second line. Here each such character becomes visible as its number, `\u{202e}`, and a text that
//! is too long is cut with `…`. What is left is one line that shows what it holds.
//!
//! Escaped are the general categories Cc, Cf, Zl and Zp, and all else that Unicode calls default-ignorable
//! (UAX #44) or that is blank but no space. Letters, marks and symbols of every script stay as they are.

use std::fmt::Write as _;

/// Most characters that [`harmless`] returns, the closing `…` among them.
pub const MAX_CHARS: usize = 256;

/// `text` as one harmless line of at most [`MAX_CHARS`] characters.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_CHARS));
    let mut shown = 0;
    // Where the line ends if the next character does not fit, `…` counted.
    let mut cut = 0;
    for character in text.chars() {
        shown += width(character);
        if shown > MAX_CHARS {
            line.truncate(cut);
            line.push('…');
            return line;
        }
        if is_harmful(character) {
            // Writing to a String does not fail.
            let _ = write!(line, "{}", character.escape_unicode());
        } else {
            line.push(character);
        }
        if shown < MAX_CHARS {
            cut = line.len();
        }
    }
    line
}

/// How many characters stand for this one.
fn width(character: char) -> usize {
    if is_harmful(character) {
        character.escape_unicode().len()
    } else {
        1
    }
}

fn is_harmful(character: char) -> bool {
    character.is_control() || is_separator_or_format(character) || is_invisible(character)
}

/// Categories Zl, Zp and Cf: line ends, reading order, joiners, tags.
fn is_separator_or_format(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Marks and letters that show nothing: joiners, fillers, variation selectors, blanks that are no space.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_every_script_stay_as_they_are() {
        for text in [
            "",
            "DataTraveler 3.0",
            "Müller’s Stick",
            "東芝 USB",
            "ذاكرة",
            "😀",
            "C:\\Users",
        ] {
            assert_eq!(harmless(text), text);
        }
    }

    #[test]
    fn escape_sequences_show_their_numbers() {
        assert_eq!(harmless("\x1b[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(harmless("a\r\nb\tc\0"), "a\\u{d}\\u{a}b\\u{9}c\\u{0}");
        assert_eq!(harmless("\u{9b}31m\x7f"), "\\u{9b}31m\\u{7f}");
    }

    #[test]
    fn a_turned_reading_order_and_hidden_letters_show() {
        assert_eq!(harmless("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
        for hidden in [
            '\u{2066}',
            '\u{200b}',
            '\u{2028}',
            '\u{2029}',
            '\u{feff}',
            '\u{e0041}',
            '\u{3164}',
            '\u{fe0f}',
        ] {
            assert_eq!(
                harmless(&hidden.to_string()),
                hidden.escape_unicode().to_string()
            );
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let exact = "ä".repeat(MAX_CHARS);
        assert_eq!(harmless(&exact), exact);
        let long = harmless(&"ä".repeat(MAX_CHARS + 1));
        assert_eq!(long, format!("{}…", "ä".repeat(MAX_CHARS - 1)));
        let escapes = harmless(&"\x1b".repeat(1_000_000));
        assert!(escapes.ends_with("\\u{1b}…") && escapes.chars().count() <= MAX_CHARS);
    }

    proptest! {
        #[test]
        fn what_is_left_is_one_visible_line(text: String) {
            let line = harmless(&text);
            prop_assert!(line.chars().count() <= MAX_CHARS);
            prop_assert!(!line.chars().any(is_harmful));
        }

        #[test]
        fn making_it_harmless_twice_changes_nothing(text in "[\\x00-\\x{2100}]{0,40}") {
            let once = harmless(&text);
            prop_assert_eq!(harmless(&once), once);
        }
    }
}
