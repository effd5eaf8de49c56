//! Questions that may never be answered: to a driver that hangs, to a file system whose server is gone.
//!
//! Each is asked on another thread, which may be left behind, and is waited for [`PATIENCE`] at most. A thread that has
//! brought its answer takes the next question: to begin one costs more than most questions do. What has not answered in time
//! is not asked again until it has, so that one thing holds one thread for each who asks, and the threads for other work
//! stay free. One log line when something falls silent, and one when it answers after all.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tracing::{info, warn};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many things may be silent; nothing more is asked then.
const MOST_SILENT: usize = 32;

type Job = Box<dyn FnOnce() + Send>;

/// What was asked and has not answered in time, and who asks.
#[derive(Debug, Clone, Default)]
pub struct Questions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By name.
    silent: BTreeSet<String>,
    /// Threads that wait for a question: no more than there were at a time.
    idle: Vec<mpsc::Sender<Job>>,
}

impl Questions {
    /// The answer of `whom`; `None` where it does not answer in time, or has not answered the question before.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        whom: &str,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let thread = self.thread_for(whom)?;
        let (answer, asked) = mpsc::channel();
        let (questions, name) = (self.clone(), whom.to_owned());
        let ask = move || {
            let said = question();
            let mut state = questions.state();
            // Nobody waits for a late one.
            let _ = answer.send(said);
            if state.silent.remove(&name) {
                info!("{name} answers again");
            }
        };
        thread.send(Box::new(ask)).ok()?;
        let said = asked.recv_timeout(PATIENCE);
        let mut state = self.state();
        // It may have been said just now; from here on nothing can be.
        match said.or_else(|_| asked.try_recv()) {
            Ok(said) => {
                state.idle.push(thread);
                Some(said)
            }
            Err(error) => {
                let hangs = error == mpsc::TryRecvError::Empty;
                if hangs && state.silent.insert(whom.to_owned()) {
                    warn!("{whom} does not answer");
                }
                // Its thread ends with the answer, if that comes.
                None
            }
        }
    }

    /// A thread for a question, if there may be one.
    fn thread_for(&self, whom: &str) -> Option<mpsc::Sender<Job>> {
        let mut state = self.state();
        if state.silent.contains(whom) || state.silent.len() >= MOST_SILENT {
            return None;
        }
        let idle = state.idle.pop();
        idle.or_else(|| thread().ok())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a thread that does what it is sent, until nobody can send it more.
fn thread() -> io::Result<mpsc::Sender<Job>> {
    let (jobs, queue) = mpsc::channel::<Job>();
    let work = move || queue.into_iter().for_each(|job| job());
    thread::Builder::new().name("question".into()).spawn(work)?;
    Ok(jobs)
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
    fn a_thread_that_has_answered_takes_the_next_question() {
        let questions = Questions::default();
        let ask = || questions.ask("drive", || thread::current().id());
        let first = ask();
        assert!(first.is_some() && (0..100).all(|_| ask() == first));
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
        let silent = (0..MOST_SILENT).map(|number| number.to_string());
        questions.state().silent.extend(silent);
        assert_eq!(questions.ask("one more", || 1), None);
    }
}
