//! What was recorded is told again word for word.

mod events;
mod hostile;

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    slice::from_ref,
    sync::Arc,
};

use jiff::tz::TimeZone;
use proptest::{collection::vec, prelude::*};

use self::events::{Course, MS};
use super::{format::Head, *};
use crate::{
    event::{CgroupMade, Event, KernelTime, Task},
    identify::{Owner, Owners, Pod, Wanted},
    lookup::{Limits, Output, Sight},
    losses::{HookLosses, Losses},
    output::{WallClock, json, table::Table},
    pipeline::Pipeline,
    replay,
    source::{Begin, Entries as _, Entry, file::Input},
};

/// A node whose pods get their names a moment late, and cgroups that are used again.
#[derive(Default)]
struct Node {
    asked: RefCell<std::collections::BTreeMap<u64, (u32, u32)>>,
}

impl Owners for Node {
    fn note_cgroup(&mut self, made: &CgroupMade) {
        let mut asked = self.asked.borrow_mut();
        let (times, generation) = asked.entry(made.cgroup).or_default();
        (*times, *generation) = (0, *generation + 1);
    }

    fn owner(&mut self, task: &Task, _time: KernelTime) -> Owner {
        let mut asked = self.asked.borrow_mut();
        let (times, generation) = asked.entry(task.cgroup).or_default();
        *times += 1;
        let name = (*times > 2).then(|| Arc::from(format!("pod-{}-{generation}", task.cgroup)));
        let namespace = name.is_some().then(|| Arc::from(if task.cgroup == 1 { "shop" } else { "blog" }));
        let pod = Pod { namespace, name, uid: format!("uid-{}", task.cgroup), labels: None };
        Owner { pod: Some(Arc::new(pod)), ..Owner::default() }
    }
}

const TIMEOUT: u64 = 2_000 * MS;

fn begin() -> Begin {
    Begin {
        time: KernelTime(0),
        clock_offset_ns: 1_700_000_000_000_000_000,
        timeout: Some(TIMEOUT),
        count: None,
        filter: Default::default(),
        sight: Sight::default(),
        host_netns: Some(1),
        nodes: Default::default(),
        namespace: None,
        selector: None,
        scopes: Default::default(),
        description: "a recording of a test".into(),
    }
}

fn head() -> Head {
    Head {
        version: "0".into(),
        node: super::Node { name: "node-1".into(), boot_id: "b".into() },
        trace_began: KernelTime(0),
        segment: 1,
        events_before: 0,
        ports: vec![53],
        begin: begin(),
    }
}

/// Everything that a user reads of these outputs.
fn words(outputs: &[Output], table: &mut Table, words: &mut String) {
    let clock = WallClock { offset_ns: begin().clock_offset_ns, zone: TimeZone::UTC };
    for output in outputs {
        words.push_str(&json::line(output, &clock).unwrap());
        words.push('\n');
        words.push_str(&table.lines(output));
    }
}

fn table() -> Table {
    Table::new(WallClock { offset_ns: begin().clock_offset_ns, zone: TimeZone::UTC })
}

/// A trace of these happenings that is recorded at `path`. Returns its words and losses.
fn trace(courses: &[Course], path: &Path, rotation: Option<Rotation>) -> (String, Losses) {
    let recorder = Recorder::begin(path, rotation, None, head()).unwrap();
    let limits = Limits { timeout: TIMEOUT, ..Limits::default() };
    let wanted = Wanted::default();
    let mut live = Recorded::new(Node::default(), wanted, limits, Sight::default(), Some(recorder));
    let (mut said, mut table, mut time) = (String::new(), table(), 0);
    for course in courses {
        match course {
            Course::Event(event) => {
                time = time.max(event.time().0);
                words(&live.event(event.clone()), &mut table, &mut said);
            }
            Course::Advance(by) => {
                time += by;
                words(&live.advance(KernelTime(time)), &mut table, &mut said);
            }
            Course::See(sight) => live.see(*sight),
            Course::Learn { is_endpoint, name } => {
                let (address, holders) = Course::holders(*is_endpoint, *name);
                // Later than all that has been told.
                live.learn(address, holders, KernelTime(time + 1));
            }
        }
    }
    let end = KernelTime(time + MS);
    words(&live.finish(end), &mut table, &mut said);
    let hook = HookLosses { hook: "ip_send_skb".into(), ring_full: 1, unreadable: 0, skipped: 0 };
    let losses = live.add_losses(Losses { hooks: vec![hook], ..Losses::default() });
    live.end(end, &losses);
    (said, losses)
}

fn reader(paths: &[PathBuf]) -> Reader {
    let mut paths: VecDeque<PathBuf> = paths.iter().cloned().collect();
    let first = Input::open(&paths.pop_front().unwrap()).unwrap();
    Reader::new(first, Box::new(move || paths.pop_front().map(|path| Input::open(&path))))
}

/// What a replay of these files says.
fn replay(paths: &[PathBuf], wanted: Wanted) -> (String, Losses, Vec<String>) {
    let mut reader = reader(paths);
    let Some(Entry::Begin(begin)) = reader.next().unwrap() else { panic!("no beginning") };
    let limits = Limits { timeout: begin.timeout.unwrap(), ..Limits::default() };
    let mut pipeline = Pipeline::new(Told::default(), wanted, limits, begin.sight);
    let (mut said, mut table) = (String::new(), table());
    let end = replay::play(&mut reader, &mut pipeline, &mut |outputs| {
        words(&outputs, &mut table, &mut said);
        Ok(true)
    })
    .unwrap();
    (said, end.losses, end.notes)
}

/// The files of a directory, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

proptest! {
    // Each is a whole trace in a file.
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_replay_says_what_the_trace_said(courses in vec(events::course(), 0..60), rotated in any::<bool>()) {
        let directory = tempfile::tempdir().unwrap();
        let rotation = rotated.then_some(Rotation { bytes: Some(4096), time: None });
        let courses = events::in_time(courses);
        let (said, losses) = trace(&courses, &directory.path().join("t.pcapng"), rotation);
        let files = files(directory.path());
        prop_assert!(rotated || files.len() == 1);
        let (again, told, notes) = replay(&files, Wanted::default());
        prop_assert_eq!(again, said);
        prop_assert_eq!(told, losses);
        prop_assert!(notes.is_empty(), "{:?}", notes);
    }
}

/// Queries and answers of two pods.
fn traffic(count: u64) -> Vec<Course> {
    let message = |n: u64, response| {
        events::message(n * 10 * MS + u64::from(response) * MS, 1 + n % 2, (n % 200) as u16, response)
    };
    (0..count).flat_map(|n| [Course::Event(message(n, false)), Course::Event(message(n, true))]).collect()
}

#[test]
fn a_file_that_was_cut_off_tells_what_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.pcapng");
    let (said, _) = trace(&traffic(20), &path, None);
    let whole = fs::read(&path).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for length in (200..whole.len()).step_by(97) {
        fs::write(&path, &whole[..length]).unwrap();
        let mut reader = reader(from_ref(&path));
        // The beginning alone may be cut off.
        if !matches!(reader.next(), Ok(Some(Entry::Begin(_)))) {
            continue;
        }
        let (again, _, notes) = replay(from_ref(&path), Wanted::default());
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert!(note.contains("t.pcapng ends w"), "{note}");
        let queries = again.matches("\"outcome\":\"answered\"").count();
        assert!(queries <= said.matches("\"outcome\":\"answered\"").count());
        seen.insert(queries);
    }
    assert!(seen.len() > 5, "{seen:?}");
}

#[test]
fn a_segment_that_is_missing_is_a_loss() {
    let directory = tempfile::tempdir().unwrap();
    trace(&traffic(60), &directory.path().join("t.pcapng"), Some(Rotation { bytes: Some(8192), time: None }));
    let mut files = files(directory.path());
    assert!(files.len() > 3 && files[0].ends_with("t-00001.pcapng"), "{files:?}");
    let events = |paths: &[PathBuf]| {
        let mut reader = reader(paths);
        std::iter::from_fn(|| reader.next().unwrap())
            .filter_map(|entry| if let Entry::Event(event) = entry { Some(event) } else { None })
            .collect::<Vec<_>>()
    };
    let all = events(&files);
    assert_eq!(all.len(), 120);
    let missing = files.remove(1);
    let in_missing = events(&[missing]).len() as u64;
    let left = events(&files);
    let losses: Vec<_> = left
        .iter()
        .filter_map(|event| if let Event::Loss(loss) = event { Some(loss.events) } else { None })
        .collect();
    assert_eq!((losses, left.len() as u64), (vec![in_missing], 120 - in_missing + 1));
    let (_, _, notes) = replay(&files, Wanted::default());
    assert!(notes[0].contains(&format!("{in_missing} events before")), "{notes:?}");
    // In the wrong order, or of another trace.
    files.swap(0, 1);
    let mut reader = reader(&files);
    let error = std::iter::from_fn(|| Some(reader.next())).find_map(Result::err).unwrap();
    assert!(error.to_string().contains("in their order"), "{error}");
}

#[test]
fn each_segment_knows_its_owners() {
    let directory = tempfile::tempdir().unwrap();
    trace(&traffic(60), &directory.path().join("t.pcapng"), Some(Rotation { bytes: Some(8192), time: None }));
    for file in files(directory.path()) {
        let (said, ..) = replay(from_ref(&file), Wanted::default());
        let whose =
            |pod: &str| said.lines().filter(|line| line.starts_with('{') && line.contains(pod)).count();
        let all =
            said.lines().filter(|line| line.starts_with('{') && line.contains("\"kind\":\"query\"")).count();
        assert!(
            all == 0 || whose("\"pod_uid\":\"uid-1\"") > 0 && whose("\"pod_uid\":null") == 0,
            "{}: {said}",
            file.display()
        );
    }
}

#[test]
fn each_segment_knows_the_names_of_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let learn = |name| Course::Learn { is_endpoint: false, name };
    let mut courses = traffic(60);
    courses.insert(60, learn(2));
    courses.insert(0, learn(1));
    trace(&courses, &directory.path().join("t.pcapng"), Some(Rotation { bytes: Some(8192), time: None }));
    let files = files(directory.path());
    assert!(files.len() > 3, "{files:?}");
    let mut seen = [0, 0];
    for file in files {
        let (said, ..) = replay(from_ref(&file), Wanted::default());
        for line in said.lines().filter(|line| line.contains("\"kind\":\"query\"")) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let attempt = &line["attempts"][0];
            let is_late = attempt["ktime_ns"].as_u64().unwrap() >= 300 * MS;
            let expected = if is_late { "name-2" } else { "name-1" };
            // What was sent before the trace had begun is told without.
            if attempt["ktime_ns"] != 0 {
                assert_eq!(attempt["service"]["name"], expected, "{attempt}");
                seen[usize::from(is_late)] += 1;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
}

#[test]
fn a_replay_selects_by_what_was_recorded() {
    use crate::identify::Selection;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.pcapng");
    trace(&traffic(20), &path, None);
    let count = |wanted: Wanted| replay(from_ref(&path), wanted).0.matches("\"kind\":\"query\"").count();
    let pods = |pods: &[&str]| Selection {
        pods: pods.iter().map(|&pod| pod.to_owned()).collect(),
        ..Selection::default()
    };
    let by = |selection| count(Wanted::default().and(selection, None, None));
    assert_eq!(by(Selection::default()), 20);
    // The first two asked before they had a name.
    assert_eq!(by(pods(&["pod-1"])), 9);
    assert_eq!(by(pods(&["shop/pod-1", "blog/pod-2"])), 18);
    assert_eq!(by(pods(&["blog/pod-1"])), 0);
    assert_eq!(by(Selection { namespace: Some("shop".into()), ..Selection::default() }), 11);
    assert_eq!(by(Selection { all: true, ..Selection::default() }), 20);
    assert_eq!(by(Selection { host: true, ..Selection::default() }), 0);
    assert_eq!(count(Wanted::default().and(Selection::default(), Some(101), None)), 10);
    assert_eq!(count(Wanted::default().and(Selection::default(), None, Some("dig".into()))), 20);
    assert_eq!(count(Wanted::default().and(Selection::default(), None, Some("curl".into()))), 0);
}

#[test]
fn what_cannot_be_written_is_counted_and_the_trace_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| format!("{:#}", Recorder::begin(path, None, None, head()).unwrap_err());
    // Neither devices nor links nor directories.
    assert!(refused(Path::new("/dev/null")).contains("no regular file"));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("target"), &link).unwrap();
    assert!(refused(&link).contains("symbolic link") && !directory.path().join("target").exists());
    assert!(refused(directory.path()).contains("directory"));
    // The next segment cannot be opened: a directory has its name.
    fs::create_dir(directory.path().join("t-00002.pcapng")).unwrap();
    let rotation = Some(Rotation { bytes: Some(8192), time: None });
    let (said, losses) = trace(&traffic(60), &directory.path().join("t.pcapng"), rotation);
    let first = directory.path().join("t-00001.pcapng");
    let mut reader = reader(from_ref(&first));
    let entries: Vec<_> = std::iter::from_fn(|| reader.next().unwrap()).collect();
    let recorded = entries.iter().filter(|entry| matches!(entry, Entry::Event(_))).count() as u64;
    assert_eq!(recorded + losses.unrecorded_events, 120);
    assert!(recorded > 0 && losses.unrecorded_events > 0);
    assert_eq!(said.matches("\"kind\":\"query\"").count(), 60);
}

#[test]
fn only_the_last_files_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mine = directory.path().join("t-00000.pcapng");
    fs::write(&mine, "not of this recording").unwrap();
    let path = directory.path().join("t.pcapng");
    let rotation = Rotation { bytes: Some(8192), time: None };
    let recorder = Recorder::begin(&path, Some(rotation), Some(2), head()).unwrap();
    let mut live = Recorded::new(
        Node::default(),
        Wanted::default(),
        Limits::default(),
        Sight::default(),
        Some(recorder),
    );
    for course in traffic(60) {
        if let Course::Event(event) = course {
            live.event(event);
        }
    }
    drop(live);
    assert_eq!(files(directory.path()).len(), 3);
    assert!(mine.exists());
}
