//! Those who know pods while a trace runs: the container runtime, the API server.
//!
//! Each is in a thread of its own and speaks through a [`Voice`] when it knows something. The trace never waits for them, but
//! at its start, for a moment, where it could not begin without.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time,
};

use crate::identify::{PodFacts, Teller};

/// News that wait to be heard; who speaks waits then.
const UNHEARD: usize = 4;

/// What a teller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// What it knows of pods: the first time of all, later what is new.
    Pods(Vec<PodFacts>),
    /// It knows nothing new for now, and why, in a line that says what to do.
    Failed(Failure),
}

/// Why a teller cannot tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A line that says what to do. Not escaped.
    pub why: String,
    /// Whether the user asked for this teller: then it is said at once, else when a pod has no name for want of it.
    pub is_asked_for: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Tellers {
    speaking: mpsc::Sender<(Teller, News)>,
    news: mpsc::Receiver<(Teller, News)>,
    asking: Vec<Arc<Notify>>,
    /// Who has not spoken yet.
    awaited: BTreeSet<Teller>,
    /// Who failed the last time, and why.
    failed: BTreeMap<Teller, Failure>,
}

/// How one of them speaks.
#[derive(Debug)]
pub struct Voice {
    teller: Teller,
    speaking: mpsc::Sender<(Teller, News)>,
    asking: Arc<Notify>,
}

impl Default for Tellers {
    fn default() -> Self {
        let (speaking, news) = mpsc::channel(UNHEARD);
        let (asking, awaited, failed) = Default::default();
        Self { speaking, news, asking, awaited, failed }
    }
}

impl Tellers {
    /// Another one.
    pub fn admit(&mut self, teller: Teller) -> Voice {
        let asking = Arc::<Notify>::default();
        self.awaited.insert(teller);
        self.asking.push(asking.clone());
        Voice { teller, speaking: self.speaking.clone(), asking }
    }

    /// The next news; never, if there is no teller. Cancel-safe.
    pub async fn next(&mut self) -> (Teller, News) {
        let Some((teller, news)) = self.news.recv().await else {
            // Never: the other end is in here, too.
            return std::future::pending().await;
        };
        self.awaited.remove(&teller);
        match &news {
            News::Pods(_) => self.failed.remove(&teller),
            News::Failed(failure) => self.failed.insert(teller, failure.clone()),
        };
        (teller, news)
    }

    /// All news until every teller has spoken once, for at most this long.
    pub async fn first(&mut self, patience: Duration) -> Vec<(Teller, News)> {
        let deadline = time::Instant::now() + patience;
        let mut heard = Vec::new();
        while !self.awaited.is_empty() {
            match time::timeout_at(deadline, self.next()).await {
                Ok(news) => heard.push(news),
                Err(_) => break,
            }
        }
        heard
    }

    /// Asks for what is new.
    pub fn ask(&self) {
        self.asking.iter().for_each(|asking| asking.notify_one());
    }

    /// Who failed the last time, and why.
    pub fn failed(&self) -> &BTreeMap<Teller, Failure> {
        &self.failed
    }
}

impl Voice {
    /// Says it. False if nobody listens any more: the trace has ended.
    pub async fn say(&self, news: News) -> bool {
        self.speaking.send((self.teller, news)).await.is_ok()
    }

    /// Until somebody asks for what is new. Asks that come meanwhile are one.
    pub async fn asked(&self) {
        self.asking.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn failure() -> News {
        News::Failed(Failure { why: "no socket".to_owned(), is_asked_for: true })
    }

    #[tokio::test]
    async fn the_first_news_of_all_are_waited_for_but_not_for_ever() {
        let mut tellers = Tellers::default();
        assert_eq!(tellers.first(Duration::MAX / 4).await, [], "nobody is waited for");
        let (runtime, server) = (tellers.admit(Teller::Runtime), tellers.admit(Teller::ApiServer));
        assert!(runtime.say(News::Pods(Vec::new())).await);
        assert_eq!(tellers.first(MOMENT).await, [(Teller::Runtime, News::Pods(Vec::new()))]);
        assert!(server.say(failure()).await && runtime.say(failure()).await);
        assert_eq!(tellers.first(Duration::MAX / 4).await, [(Teller::ApiServer, failure())]);
        assert_eq!(tellers.failed().len(), 1, "the runtime has not been heard again");
        assert_eq!(tellers.next().await, (Teller::Runtime, failure()));
        assert!(server.say(News::Pods(Vec::new())).await);
        tellers.next().await;
        assert_eq!(tellers.failed().keys().collect::<Vec<_>>(), [&Teller::Runtime]);
    }

    #[tokio::test]
    async fn who_is_asked_while_busy_hears_it_once_later() {
        let mut tellers = Tellers::default();
        let voices = [tellers.admit(Teller::Runtime), tellers.admit(Teller::ApiServer)];
        tellers.ask();
        tellers.ask();
        for voice in &voices {
            voice.asked().await;
            assert!(time::timeout(MOMENT, voice.asked()).await.is_err());
        }
        drop(tellers);
        assert!(!voices[0].say(failure()).await);
    }
}
