//! Files of strangers: whatever is in them, they are read to an end.

use proptest::prelude::*;

use super::*;

/// Reads a file and checks what is promised of every event.
fn is_sound(file: Vec<u8>) -> Result<(), TestCaseError> {
    let Ok(read) = read(file) else { return Ok(()) };
    for event in read.events {
        let (bytes, length) = match &event {
            Event::Message(message) => (message.payload.len(), message.length),
            Event::Stream(stream) => (stream.bytes.len(), stream.length),
            Event::Icmp(icmp) => (icmp.packet.payload.len(), icmp.packet.length),
            _ => continue,
        };
        prop_assert!(bytes <= length as usize, "{event:?}");
    }
    Ok(())
}

/// A file with everything in it.
fn full() -> Vec<u8> {
    let [asked, answered] = lookup(START, 1, "example.com");
    let mut segment = Vec::new();
    let builder = PacketBuilder::ipv4(CLIENT, SERVER, 64).tcp(40_000, 53, 1, 1_000).syn();
    builder.write(&mut segment, &[0, 3, 1, 2, 3]).unwrap();
    let fragment = {
        let mut fragment = asked.data.clone();
        fragment[6] |= 0x20;
        fragment
    };
    let packets = [asked, answered, captured(START, segment), captured(START, fragment)];
    let packets = packets.iter().map(|packet| LITTLE.packet(packet, packet.time / 1_000));
    let statistics = [LITTLE.u32(0), LITTLE.u32(0), LITTLE.u32(0), LITTLE.option(5, &LITTLE.u64(3))].concat();
    let head = [LITTLE.section(), LITTLE.interface(RAW, &[LITTLE.option(9, &[6])])].concat();
    [head, packets.collect::<Vec<_>>().concat(), LITTLE.block(5, &statistics)].concat()
}

#[test]
fn the_file_of_these_tests_is_sound() {
    assert_eq!(read(full()).unwrap().events.len(), 6);
}

proptest! {
    #[test]
    fn random_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..400), link in 0u32..300) {
        is_sound(bytes.clone())?;
        is_sound([LITTLE.section(), bytes.clone()].concat())?;
        is_sound([pcap(RAW, &[]), bytes.clone()].concat())?;
        is_sound(pcap(link, &[captured(START, bytes)]))?;
    }

    #[test]
    fn damaged_and_truncated_files_are_read_to_an_end(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut file = full();
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        is_sound(file.clone())?;
        file.truncate(end.index(file.len()));
        is_sound(file)?;
    }
}
