//! A wall clock that jumps, for one program alone: the machine's own belongs to everybody on it.
//!
//! A few lines of C stand before libc's `clock_gettime` and add to CLOCK_REALTIME as many seconds as a file says at
//! that moment; all other clocks go on. They are compiled with the compiler that links Rust programs as well.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long long *ahead;

__attribute__((constructor)) static void look(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) ahead = page;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && ahead && clock == CLOCK_REALTIME) now->tv_sec += *ahead;
    return failed;
}
"#;

/// The clock of one program.
pub struct Clock {
    library: PathBuf,
    ahead: PathBuf,
}

impl Clock {
    /// A clock that is right, with its files in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        fs::write(&source, SOURCE).unwrap();
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source);
        assert!(compiler.status().unwrap().success(), "the clock compiles");
        let clock = Self {
            library,
            ahead: dir.join("clock-ahead"),
        };
        clock.set(0);
        clock
    }

    /// A program that is started by this command goes by this clock.
    pub fn give(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("CHAOS_CLOCK", &self.ahead);
    }

    /// It is so many seconds ahead from now on.
    pub fn set(&self, seconds: i64) {
        // In place: the program has the file mapped.
        let mut options = fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.ahead);
        std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), &seconds.to_ne_bytes(), 0)
            .unwrap();
    }
}
