//! Questions that may never be answered: to a driver that hangs, to a file system whose server is gone.
//!
//! Each is asked on a thread of its own, which may be left behind, and is waited for [`PATIENCE`] at most. What has not
//! answered in time is not asked again until it has, so that one thing holds one thread for each who asks, and the
//! threads for other work stay free. One log line when something falls silent, and one when it answers after all.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tracing::{info, warn};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many things may be silent; nothing more is asked then.
const MOST_SILENT: usize = 32;

/// What was asked and has not answered in time, by name.
#[derive(Debug, Clone, Default)]
pub struct Questions(Arc<Mutex<BTreeSet<String>>>);

impl Questions {
    /// The answer of `whom`; `None` where it does not answer in time, or has not answered the question before.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        whom: &str,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let is_silent = |silent: &BTreeSet<String>| silent.contains(whom);
        if is_silent(&self.silent()) || self.silent().len() >= MOST_SILENT {
            return None;
        }
        let (answer, asked) = mpsc::channel();
        let (questions, name) = (self.clone(), whom.to_owned());
        let ask = move || {
            let said = question();
            let mut silent = questions.silent();
            // Nobody waits for a late one.
            let _ = answer.send(said);
            if silent.remove(&name) {
                info!("{name} answers again");
            }
        };
        thread::Builder::new().spawn(ask).ok()?;
        if let Ok(said) = asked.recv_timeout(PATIENCE) {
            return Some(said);
        }
        let mut silent = self.silent();
        // It may have been said just now; from here on nothing can be.
        match asked.try_recv() {
            Err(mpsc::TryRecvError::Empty) if silent.insert(whom.to_owned()) => {
                warn!("{whom} does not answer");
                None
            }
            said => said.ok(),
        }
    }

    fn silent(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_does_not_answer_is_asked_once_until_it_does() {
        let (questions, asked) = (Questions::default(), Arc::new(AtomicUsize::new(0)));
        let (release, held) = mpsc::channel::<()>();
        let count = asked.clone();
        let hang = move || {
            count.fetch_add(1, Ordering::Relaxed);
            held.recv().is_ok()
        };
        assert_eq!(questions.ask("drive", hang), None);
        for _ in 0..100 {
            let count = asked.clone();
            let ask = move || count.fetch_add(1, Ordering::Relaxed);
            assert_eq!(questions.ask("drive", ask), None);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(questions.ask("other", || 7), Some(7));
        release.send(()).unwrap();
        let (_kept, never) = mpsc::channel::<()>();
        let answers = (0..1000).any(|_| {
            let _ = never.recv_timeout(Duration::from_millis(10));
            questions.ask("drive", || 8) == Some(8)
        });
        assert!(answers, "never asked again");
    }

    #[test]
    fn a_question_that_panics_is_no_answer() {
        let questions = Questions::default();
        let panic = || -> u8 { panic!("on purpose") };
        assert_eq!(questions.ask("drive", panic), None);
        assert_eq!(questions.ask("drive", || 1), Some(1));
    }

    #[test]
    fn many_silent_things_hold_a_bounded_number_of_threads() {
        let questions = Questions::default();
        questions
            .silent()
            .extend((0..MOST_SILENT).map(|number| number.to_string()));
        assert_eq!(questions.ask("one more", || 1), None);
    }
}
