//! Frames of the recorder's log: whatever is read takes no more bytes than there are, and is written back the same;
//! what was written is found behind anything.
#![no_main]

use labwatch_recorder::frame::{self, FrameWriter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = frame::is_anywhere(bytes);
    if let Some((frame, length)) = frame::read(bytes) {
        assert!(length <= bytes.len());
        let mut writer = FrameWriter::default();
        frame.pieces.iter().for_each(|piece| writer.lines(piece));
        writer.marks(&frame.marks);
        let written = writer.finish();
        assert!(frame::is_anywhere(&[&bytes[..3], &written].concat()));
        assert_eq!(frame::read(&written).map(|(frame, _)| frame), Some(frame));
    }
});
