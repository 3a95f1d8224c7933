//! What watchers have found out, on its way to the trace.

use std::{cell::RefCell, collections::BTreeSet, ops::ControlFlow, rc::Rc};

use tokio::sync::mpsc::Sender;

use super::{Learned, objects::Resource};
use crate::{
    directory::{Changed, Holding, Index, ObjectId},
    identify::PodFacts,
    tellers::{Failure, News, Voice},
};

/// Changes that are handed over at a time: the trace takes some such portions between two batches of events.
const PORTION: usize = 512;

/// What the watchers of all resources have in common. Whoever is told that nobody listens any more ends.
#[derive(Clone)]
pub struct Telling {
    learned: Sender<Learned>,
    /// Tells of pods, and of what the speaker suffers.
    voice: Rc<Voice>,
    speaker: Resource,
    known: Rc<RefCell<Known>>,
}

#[derive(Default)]
struct Known {
    index: Index,
    left_out: u64,
    /// Resources of which it was said that they cannot be followed.
    failed: BTreeSet<&'static str>,
}

impl Telling {
    /// `speaker` tells what troubles all of them alike.
    pub fn new(learned: Sender<Learned>, voice: Voice, speaker: Resource) -> Self {
        Self { learned, voice: voice.into(), speaker, known: Rc::default() }
    }

    /// All objects of a resource.
    pub async fn listed(
        &self,
        resource: Resource,
        objects: Vec<(ObjectId, Vec<Holding>)>,
    ) -> ControlFlow<()> {
        let changed = self.known.borrow_mut().index.replace(resource.name(), objects);
        self.changed(changed).await
    }

    /// One that is there, or has changed.
    pub async fn put(&self, object: &ObjectId, holdings: Vec<Holding>) -> ControlFlow<()> {
        let changed = self.known.borrow_mut().index.put(object, holdings);
        self.changed(changed).await
    }

    /// One that has gone.
    pub async fn remove(&self, object: &ObjectId) -> ControlFlow<()> {
        let changed = self.known.borrow_mut().index.remove(object);
        self.changed(changed).await
    }

    /// What a resource says of pods. That of the speaker is told even if it is nothing: somebody may wait for it.
    pub async fn pods(&self, resource: Resource, pods: Vec<PodFacts>) -> ControlFlow<()> {
        match pods.is_empty() && resource != self.speaker {
            true => self.listening(),
            false => self.say(News::Pods(pods)).await,
        }
    }

    /// A resource cannot be followed, for this reason. It is said once, until it was well meanwhile; what all have in common,
    /// by the speaker alone.
    pub async fn trouble(&self, resource: Resource, why: String, is_common: bool) -> ControlFlow<()> {
        let is_speaker = resource == self.speaker;
        if is_common && !is_speaker || !self.known.borrow_mut().failed.insert(resource.name()) {
            return self.listening();
        }
        match is_speaker {
            true => self.say(News::Failed(Failure { why, is_asked_for: true })).await,
            false => self.send(Learned::Failed(why)).await,
        }
    }

    /// A resource is followed.
    pub async fn works(&self, resource: Resource) -> ControlFlow<()> {
        let is_mended = self.known.borrow_mut().failed.remove(resource.name());
        match (is_mended, resource == self.speaker) {
            (false, _) => self.listening(),
            (true, true) => self.say(News::Pods(Vec::new())).await,
            (true, false) => self.send(Learned::Recovered).await,
        }
    }

    async fn changed(&self, changed: Vec<Changed>) -> ControlFlow<()> {
        for portion in changed.chunks(PORTION) {
            self.send(Learned::Holders(portion.to_vec())).await?;
        }
        let left_out = {
            let mut known = self.known.borrow_mut();
            let now = known.index.left_out();
            (std::mem::replace(&mut known.left_out, now) != now).then_some(now)
        };
        match left_out {
            Some(left_out) => self.send(Learned::LeftOut(left_out)).await,
            None => self.listening(),
        }
    }

    async fn send(&self, learned: Learned) -> ControlFlow<()> {
        match self.learned.send(learned).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    async fn say(&self, news: News) -> ControlFlow<()> {
        match self.voice.say(news).await {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    fn listening(&self) -> ControlFlow<()> {
        if self.learned.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::{
        directory::{Holder, Kind, Name},
        identify::Teller,
        tellers::Tellers,
    };

    fn telling() -> (Telling, Receiver<Learned>, Tellers) {
        let mut tellers = Tellers::default();
        let voice = tellers.admit(Teller::ApiServer);
        let (sender, told) = mpsc::channel(64);
        (Telling::new(sender, voice, Resource::Pods), told, tellers)
    }

    #[tokio::test]
    async fn a_trouble_is_told_once_until_it_is_over() {
        let (telling, mut told, mut tellers) = telling();
        for resource in [Resource::Services, Resource::Pods, Resource::Services, Resource::Pods] {
            _ = telling.trouble(resource, "cannot reach it".to_owned(), true).await;
        }
        let first = tellers.first(Duration::from_secs(60)).await;
        let failure = Failure { why: "cannot reach it".to_owned(), is_asked_for: true };
        assert_eq!(first, [(Teller::ApiServer, News::Failed(failure))]);
        for _ in 0..2 {
            _ = telling.works(Resource::Pods).await;
            _ = telling.trouble(Resource::Services, "forbidden".to_owned(), false).await;
        }
        assert_eq!(tellers.next().await, (Teller::ApiServer, News::Pods(Vec::new())));
        for _ in 0..2 {
            _ = telling.works(Resource::Services).await;
        }
        drop(telling);
        let Some(Learned::Failed(why)) = told.recv().await else { panic!("nothing is told") };
        assert_eq!(why, "forbidden");
        assert!(matches!(told.recv().await, Some(Learned::Recovered)));
        assert!(told.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_large_list_comes_in_portions_and_nobody_tells_the_deaf() {
        let (telling, mut told, _tellers) = telling();
        let objects = (0..1_300_u32).map(|number| {
            let called: std::sync::Arc<str> = number.to_string().into();
            let id = ObjectId { resource: "pods", namespace: "a".into(), name: called.clone() };
            let name = Name { kind: Kind::Pod, namespace: "a".into(), name: called };
            let holder = Holder { name: name.into(), ports: Vec::new(), is_whole: true };
            (id, vec![(number.to_be_bytes().into(), holder)])
        });
        assert!(telling.listed(Resource::Pods, objects.collect()).await.is_continue());
        let mut portions = Vec::new();
        while let Ok(Learned::Holders(changed)) = told.try_recv() {
            portions.push(changed.len());
        }
        assert_eq!(portions, [512, 512, 276]);
        drop(told);
        assert!(telling.listed(Resource::Pods, Vec::new()).await.is_break());
    }
}
