//! A whole trace: records of the kernel, from the ring to the words.

use std::sync::Arc;

use dnstrace::{
    event::{CgroupMade, KernelTime, Task},
    identify::{Owner, Owners, Pod, Wanted},
    lookup::{Limits, Sight},
    losses::Losses,
    pipeline::Pipeline,
};

use crate::{event::events, shown::Shown};

/// Pods by the names that strangers gave their processes.
#[derive(Default)]
struct Strangers;

impl Owners for Strangers {
    fn note_cgroup(&mut self, _: &CgroupMade) {}

    fn owner(&mut self, task: &Task, _: KernelTime) -> Owner {
        let name: Arc<str> = task.comm.as_str().into();
        let pod = Pod {
            namespace: Some(name.clone()),
            name: Some(name),
            uid: task.cgroup.to_string(),
            labels: None,
        };
        Owner { pod: Some(Arc::new(pod)), ..Owner::default() }
    }
}

/// See the table in the crate's documentation. Two bytes are the length of the record that follows, and so on.
pub fn check(mut data: &[u8]) {
    let limits = Limits { queries: 16, attempts: 4, steps: 4, ..Limits::default() };
    let mut pipeline = Pipeline::new(Strangers, Wanted::default(), limits, Sight::default());
    let (mut shown, mut time) = (Shown::default(), KernelTime::default());
    while let Some((length, rest)) = data.split_first_chunk() {
        let (record, after) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
        data = after;
        for event in events(record).unwrap_or_default() {
            time = time.max(event.time());
            shown.tell(&pipeline.event(event));
        }
        shown.tell(&pipeline.advance(time));
    }
    shown.tell(&pipeline.finish(time));
    shown.end(KernelTime::default(), time, &pipeline.add_losses(Losses::default()));
}
