//! Frames of the recorder's log: whatever is read takes no more bytes than there are, and is written back the same.
#![no_main]

use labwatch_recorder::frame::{self, FrameWriter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((frame, length)) = frame::read(bytes) {
        assert!(length <= bytes.len());
        let mut writer = FrameWriter::default();
        frame.pieces.iter().for_each(|piece| writer.lines(piece));
        writer.marks(&frame.marks);
        assert_eq!(frame::read(&writer.finish()).map(|(frame, _)| frame), Some(frame));
    }
});
