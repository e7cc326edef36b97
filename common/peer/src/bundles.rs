//! What is asked of one peer at the same moment travels together: one call over the network costs about as much as sixteen questions in
//! one. Each question has its own answer, which waits for no other. Knows nothing of what is asked.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::{Status, Streaming};

/// Questions in one bundle.
const QUESTIONS_MAX: usize = 256;

/// Bytes after which a bundle takes no further question.
const BYTES_MAX: usize = 256 * 1024;

/// While a bundle is on its way, questions gather for the next, but no longer than this.
const GATHERING_MAX: Duration = Duration::from_millis(2);

/// Questions to one peer, as they gather. Share it in an `Arc`.
pub struct Bundles<Q, A> {
    gathering: Mutex<Gathering<Q, A>>,
}

struct Gathering<Q, A> {
    questions: Vec<Question<Q, A>>,
    is_sending: bool,
}

struct Question<Q, A> {
    asked: Q,
    bytes: usize,
    answer: oneshot::Sender<Result<A, Status>>,
}

/// Those who wait for the answers of one bundle, in the order of its questions.
pub struct Waiting<A> {
    answers: Vec<Option<oneshot::Sender<Result<A, Status>>>>,
    on_its_way: Option<oneshot::Sender<()>>,
}

impl<Q, A> Default for Bundles<Q, A> {
    fn default() -> Self {
        let gathering = Gathering {
            questions: Vec::new(),
            is_sending: false,
        };
        Self {
            gathering: Mutex::new(gathering),
        }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Bundles<Q, A> {
    /// Asks, together with whoever asks meanwhile. `send` brings a bundle to the peer, and what comes back to those who wait. An error if
    /// the call broke in which the question was, of which the rest of the bundle has the same.
    pub async fn ask<F>(
        self: &Arc<Self>,
        asked: Q,
        bytes: usize,
        send: impl Fn(Vec<Q>, Waiting<A>) -> F + Send + Sync + 'static,
    ) -> Result<A, Status>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let was_sending = {
            let mut gathering = self.gathering.lock();
            gathering.questions.push(Question { asked, bytes, answer });
            std::mem::replace(&mut gathering.is_sending, true)
        };
        if !was_sending {
            let bundles = Arc::clone(self);
            tokio::spawn(async move { bundles.send_all(send).await });
        }
        let lost = |_| Status::unknown("the call ended without an answer to this question");
        answered.await.map_err(lost)?
    }

    async fn send_all<F>(&self, send: impl Fn(Vec<Q>, Waiting<A>) -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            // Whoever is about to ask comes along.
            tokio::task::yield_now().await;
            let Some(bundle) = self.next() else { return };
            let (questions, answers) = bundle
                .into_iter()
                .map(|question| (question.asked, Some(question.answer)))
                .unzip();
            let (on_its_way, arrives) = oneshot::channel();
            let waiting = Waiting {
                answers,
                on_its_way: Some(on_its_way),
            };
            tokio::spawn(send(questions, waiting));
            let _ = timeout(GATHERING_MAX, arrives).await;
        }
    }

    /// What has gathered, up to a limit; `None` if nothing has, and then nobody sends any more.
    fn next(&self) -> Option<Vec<Question<Q, A>>> {
        let mut gathering = self.gathering.lock();
        if gathering.questions.is_empty() {
            gathering.is_sending = false;
            return None;
        }
        let mut bytes = 0;
        let fits = gathering
            .questions
            .iter()
            .take(QUESTIONS_MAX)
            .take_while(|question| {
                let room = bytes < BYTES_MAX;
                bytes += question.bytes;
                room
            });
        let count = fits.count();
        Some(gathering.questions.drain(..count).collect())
    }
}

impl<A> Waiting<A> {
    /// Brings the answers of one call to those who wait, as they come. `position` tells the question that an answer is to.
    pub async fn listen<M>(
        mut self,
        call: impl Future<Output = Result<tonic::Response<Streaming<M>>, Status>>,
        position: impl Fn(M) -> (u32, Result<A, Status>),
    ) {
        let mut answers = match call.await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return self.fail(&status),
        };
        drop(self.on_its_way.take());
        loop {
            match answers.message().await {
                Ok(Some(message)) => {
                    let (position, answer) = position(message);
                    self.tell(position, answer);
                }
                Ok(None) => return,
                Err(status) => return self.fail(&status),
            }
        }
    }

    fn tell(&mut self, position: u32, answer: Result<A, Status>) {
        let waiter = self.answers.get_mut(position as usize).and_then(Option::take);
        if let Some(waiter) = waiter {
            // Who no longer waits needs no answer.
            let _ = waiter.send(answer);
        }
    }

    /// Tells all who wait that the call broke.
    pub fn fail(self, status: &Status) {
        for waiter in self.answers.into_iter().flatten() {
            let _ = waiter.send(Err(status.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Numbers = Bundles<u64, u64>;

    fn doubling(sent: &Arc<Mutex<Vec<Vec<u64>>>>) -> impl Fn(Vec<u64>, Waiting<u64>) -> Answered + use<> {
        let sent = Arc::clone(sent);
        move |numbers, mut waiting| {
            sent.lock().push(numbers.clone());
            Box::pin(async move {
                for (position, number) in numbers.into_iter().enumerate().rev() {
                    waiting.tell(position as u32, Ok(2 * number));
                }
            })
        }
    }

    type Answered = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

    #[tokio::test]
    async fn what_is_asked_at_once_travels_together_and_each_has_its_own_answer() {
        let (bundles, sent) = (Arc::new(Numbers::default()), Arc::default());
        let asked = (0..1000).map(|n| bundles.ask(n, 1, doubling(&sent)));
        let answers = join_all(asked).await;
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.unwrap(), 2 * n as u64);
        }
        let sizes: Vec<usize> = sent.lock().iter().map(Vec::len).collect();
        assert_eq!(sizes, [256, 256, 256, 232]);
        assert_eq!(bundles.ask(5, 1, doubling(&sent)).await.unwrap(), 10);
        assert_eq!(
            sent.lock().last(),
            Some(&vec![5]),
            "afterwards somebody sends again"
        );
    }

    #[tokio::test]
    async fn what_is_large_does_not_wait_with_much_else() {
        let (bundles, sent) = (Arc::new(Numbers::default()), Arc::default());
        let asked = (0..4).map(|n| bundles.ask(n, BYTES_MAX / 2, doubling(&sent)));
        join_all(asked).await;
        assert_eq!(*sent.lock(), [vec![0, 1], vec![2, 3]]);
    }

    #[tokio::test]
    async fn a_bundle_that_is_not_answered_holds_up_no_other_and_who_was_in_it_is_told() {
        let bundles = Arc::new(Numbers::default());
        let calls = Arc::new(AtomicUsize::new(0));
        let send = |calls: &Arc<AtomicUsize>| {
            let calls = Arc::clone(calls);
            move |numbers: Vec<u64>, mut waiting: Waiting<u64>| {
                let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
                let answered: Answered = Box::pin(async move {
                    if first {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        waiting.fail(&Status::unavailable("broken"));
                    } else {
                        waiting.tell(0, Ok(numbers[0]));
                    }
                });
                answered
            }
        };
        let silent = bundles.ask(1, 1, send(&calls));
        let later = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            timeout(Duration::from_millis(100), bundles.ask(2, 1, send(&calls))).await
        };
        let (silent, later) = tokio::join!(silent, later);
        assert_eq!(silent.unwrap_err().code(), tonic::Code::Unavailable);
        assert_eq!(later.unwrap().unwrap(), 2);
    }
}
