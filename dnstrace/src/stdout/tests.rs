use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    os::fd::OwnedFd,
    time::Instant,
};

use super::*;

/// A line of ten bytes.
fn line(number: u32) -> String {
    format!("{number:09}\n")
}

fn pipe() -> (OwnedFd, File) {
    let (read, write) = unistd::pipe().unwrap();
    (write, File::from(read))
}

/// What a pipe whose reader has stopped takes, with what is being written beside.
const STUCK: u32 = 2 * CHUNK as u32 / 10;

/// Pushes until no more is taken. Returns how many lines were.
fn fill(stdout: &Stdout, from: u32) -> u32 {
    (from..).take_while(|number| stdout.push(line(*number))).count() as u32
}

#[test]
fn what_is_flushed_is_read_in_order() {
    let (write, read) = pipe();
    let stdout = Stdout::start(write, 1 << 20, WhenFull::Refuse).unwrap();
    assert!(stdout.push(line(1)) && stdout.push(line(2)));
    stdout.flush().unwrap();
    let mut lines = BufReader::new(read).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "000000001");
    assert_eq!(lines.next().unwrap().unwrap(), "000000002");
    assert_eq!(stdout.drain(Some(Duration::from_secs(60))), 0);
    assert_eq!(stdout.progress(), (0, 20));
    assert!(stdout.push(line(3)));
    drop(stdout);
    assert_eq!(lines.next().unwrap().unwrap(), "000000003");
    assert!(lines.next().is_none(), "what is queued at the end is written, and then the file is closed");
}

#[test]
fn a_reader_that_stops_costs_whole_lines_and_no_time() {
    const CAPACITY: usize = 1 << 20;
    let (write, read) = pipe();
    let stdout = Stdout::start(write, CAPACITY, WhenFull::Refuse).unwrap();
    let taken = fill(&stdout, 0);
    let room = (CAPACITY / 10) as u32;
    assert!((room..=room + STUCK).contains(&taken), "{taken} lines");
    assert!(stdout.is_full() && !stdout.push(line(taken)));
    assert!(stdout.shared.lock().bytes <= CAPACITY);

    let started = Instant::now();
    let left = stdout.drain(Some(Duration::from_millis(50)));
    assert!(left > 0 && started.elapsed() < Duration::from_secs(30), "{left} left");

    let mut lines = BufReader::new(read).lines().map(|line| line.unwrap().parse::<u32>().unwrap());
    let read: Vec<_> = lines.by_ref().take(taken as usize).collect();
    assert!(read.into_iter().eq(0..taken), "each line that was taken, in order, and whole");
    assert_eq!(stdout.drain(Some(Duration::from_secs(60))), 0);
    assert!(!stdout.is_full() && stdout.push(line(7)));
    drop(stdout);
    assert_eq!(lines.collect::<Vec<_>>(), [7]);
}

#[test]
fn it_stays_full_until_half_is_free() {
    let (write, mut read) = pipe();
    let stdout = Stdout::start(write, 1 << 20, WhenFull::Refuse).unwrap();
    fill(&stdout, 0);
    let mut some = vec![0; 4 * CHUNK];
    read.read_exact(&mut some).unwrap();
    // The writer has taken as much again from the queue, at most.
    assert!(stdout.is_full(), "{:?} of 1 MiB", stdout.shared.lock().bytes);
    let mut more = vec![0; 8 * CHUNK];
    read.read_exact(&mut more).unwrap();
    let started = Instant::now();
    while stdout.is_full() {
        assert!(started.elapsed() < Duration::from_secs(60), "never free again");
        thread::yield_now();
    }
}

#[test]
fn who_waits_for_room_loses_nothing() {
    let (write, read) = pipe();
    let stdout = Stdout::start(write, 100, WhenFull::Wait).unwrap();
    let reader = thread::spawn(move || BufReader::new(read).lines().count());
    for number in 0..50_000 {
        assert!(stdout.push(line(number)));
    }
    assert!(stdout.push("x".repeat(1_000) + "\n"), "a text larger than all the room");
    assert_eq!(stdout.drain(None), 0);
    drop(stdout);
    assert_eq!(reader.join().unwrap(), 50_001);
}

#[test]
fn a_reader_that_goes_is_an_end_and_no_error() {
    for when_full in [WhenFull::Wait, WhenFull::Refuse] {
        let (write, read) = pipe();
        let stdout = Stdout::start(write, 1 << 20, when_full).unwrap();
        let closer = thread::spawn(move || drop(read));
        // It does not hang, whoever is first.
        for number in 0..200_000 {
            stdout.push(line(number));
        }
        closer.join().unwrap();
        stdout.push(line(0));
        stdout.flush().unwrap();
        assert_eq!(stdout.drain(None), 0);
        assert!(stdout.is_closed());
        stdout.flush().unwrap();
    }
}

#[test]
fn a_full_disk_is_an_error_told_once() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let stdout = Stdout::start(full, 1 << 20, WhenFull::Refuse).unwrap();
    stdout.push(line(1));
    assert_eq!(stdout.drain(None), 0);
    assert_eq!(stdout.flush().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    stdout.flush().unwrap();
    assert!(stdout.is_closed(), "nothing more can be written");
}
