use super::arch::Target;
use super::report::Tally;
use super::samples::{cubin, entry, library, region};
use super::*;
use proptest::prelude::*;

const A: u64 = 0x10_0000;

fn archs(numbers: &[u32]) -> BTreeSet<Arch> {
    numbers.iter().copied().map(Arch).collect()
}

fn names(tallies: &std::collections::BTreeMap<Target, Tally>) -> Vec<String> {
    tallies
        .iter()
        .map(|(target, tally)| format!("{target} {} {}", tally.count, tally.bytes))
        .collect()
}

/// Ranges of bytes that differ, all of which must be zeros now.
fn blanked(before: &[u8], after: &[u8]) -> Vec<std::ops::Range<usize>> {
    assert_eq!(before.len(), after.len());
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    for at in (0..before.len()).filter(|at| before[*at] != after[*at]) {
        assert_eq!(after[at], 0, "byte {at} was changed to something else");
        match ranges.last_mut() {
            Some(last) if last.end == at => last.end = at + 1,
            _ => ranges.push(at..at + 1),
        }
    }
    ranges
}

/// Two modules: one with several translations, one for sm_90a alone.
fn provider() -> Vec<u8> {
    let first = region(&[
        entry(2, 75, 0, &[75; 16]),
        entry(2, 80, 0, &[80; 24]),
        entry(2, 90, A, &[90; 32]),
        entry(1, 80, 0, &[1; 40]),
    ]);
    let second = region(&[entry(2, 90, A, &[91; 48])]);
    library(&[
        (".text", &region(&[entry(2, 75, 0, &[7; 8])]), true),
        (".rodata", &[5; 80], false),
        (".nv_fatbin", &[first, vec![0; 8], second].concat(), false),
    ])
}

#[test]
fn holdings_are_counted_by_architecture_and_letter() {
    let holdings = holdings(&provider());
    assert_eq!(
        names(&holdings.registered.cubins),
        ["sm_75 1 16", "sm_80 1 24", "sm_90a 2 80"]
    );
    assert_eq!(names(&holdings.registered.ptx), ["sm_80 1 40"]);
    assert_eq!(
        (holdings.modules, holdings.unknown_regions, holdings.other),
        (2, 0, Tally::default())
    );
    assert!(holdings.runs_on(Arch(86)) && holdings.runs_on(Arch(87)));
    assert!(!holdings.runs_on(Arch(72)));
    assert_eq!(
        holdings.to_string(),
        "machine code for sm_75, sm_80, sm_90a and PTX for sm_80"
    );
}

#[test]
fn a_cut_keeps_the_closest_code_and_touches_the_other_payloads_only() {
    let before = provider();
    let mut after = before.clone();
    let cut = cut(&mut after, &archs(&[86])).unwrap();
    assert_eq!(names(&cut.kept), ["sm_80 1 24"]);
    assert_eq!(
        names(&cut.removed),
        ["sm_75 1 16", "sm_80 1 40", "sm_90a 2 80"]
    );
    assert_eq!(cut.blanked_bytes(), 136);
    let served = Served {
        compatible: 1,
        nothing: 1,
        ..Served::default()
    };
    assert_eq!(cut.served[&Arch(86)], served);
    let ranges = blanked(&before, &after);
    let payload = |byte: u8| {
        let begin = before.windows(8).position(|window| window == [byte; 8]);
        let begin = begin.unwrap();
        let length = before[begin..].iter().take_while(|next| **next == byte);
        begin..begin + length.count()
    };
    assert_eq!(ranges, [payload(75), payload(90), payload(1), payload(91)]);
}

#[test]
fn several_architectures_are_kept_together_and_ptx_serves_where_no_machine_code_does() {
    let before = provider();
    let mut after = before.clone();
    let cut = cut(&mut after, &archs(&[75, 87, 90])).unwrap();
    assert_eq!(
        names(&cut.kept),
        ["sm_75 1 16", "sm_80 1 40", "sm_90a 2 80"]
    );
    assert_eq!(names(&cut.removed), ["sm_80 1 24"]);
    assert_eq!(cut.served[&Arch(87)].ptx, 1);
    assert_eq!(cut.served[&Arch(90)].exact, 2);
    assert_eq!(blanked(&before, &after).len(), 1);
}

#[test]
fn an_architecture_for_which_nothing_would_remain_is_refused_with_what_there_is() {
    let before = provider();
    let mut after = before.clone();
    let refusal = cut(&mut after, &archs(&[72, 90])).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "nothing in it runs on sm_72: it holds machine code for sm_75, sm_80, sm_90a and PTX for sm_80; \
         name architectures that it has code for, or take a build that has code for this one"
    );
    assert_eq!(cut(&mut after, &archs(&[])), Err(Refusal::NoneNamed));
    assert_eq!(after, before, "a refused file is left alone");
}

#[test]
fn a_file_without_gpu_code_is_left_alone() {
    for before in [
        library(&[(".rodata", &[1; 64], false)]),
        b"no library".to_vec(),
        Vec::new(),
    ] {
        let mut after = before.clone();
        let cut = cut(&mut after, &archs(&[86])).unwrap();
        assert!(cut.found_nothing() && cut.blanked_bytes() == 0);
        assert!(holdings(&before).is_empty());
        assert_eq!(after, before);
    }
}

#[test]
fn what_the_library_chooses_itself_is_kept_whenever_it_runs() {
    let table: Vec<u8> = [75, 80, 86, 90]
        .iter()
        .flat_map(|arch| region(&[entry(2, *arch, 0, &[*arch as u8; 16])]))
        .collect();
    let before = library(&[(".data", &table, false)]);
    let mut after = before.clone();
    let cut = cut(&mut after, &archs(&[86])).unwrap();
    assert_eq!(names(&cut.kept), ["sm_80 1 16", "sm_86 1 16"]);
    assert_eq!(blanked(&before, &after).len(), 2);
}

#[test]
fn tables_of_faster_kernels_do_not_make_a_library_one_for_that_gpu() {
    let registered = region(&[entry(2, 89, 0, &[89; 16]), entry(2, 120, A, &[120; 16])]);
    let before = library(&[
        (".rodata", &[cubin(75, 128), cubin(86, 128)].concat(), false),
        (".nv_fatbin", &registered, false),
    ]);
    let holdings = holdings(&before);
    assert!(holdings.runs_on(Arch(89)) && !holdings.runs_on(Arch(86)));
    assert_eq!(
        holdings.to_string(),
        "machine code for sm_89, sm_120a",
        "tables are not named"
    );
    for gpu in [75, 86, 121] {
        let refusal = cut(&mut before.clone(), &archs(&[gpu])).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Nothing { missing, .. } if *missing == [Arch(gpu)]),
            "{refusal}"
        );
    }
    let mut after = before.clone();
    let cut = cut(&mut after, &archs(&[89])).unwrap();
    let served = Served {
        exact: 1,
        ..Served::default()
    };
    assert_eq!(cut.served[&Arch(89)], served);
    assert_eq!(names(&cut.kept), ["sm_86 1 64", "sm_89 1 16"]);
}

#[test]
fn bare_and_compressed_cubins_are_found_by_their_own_headers() {
    let framed = |arch| {
        let mut frame = zstd::bulk::compress(&cubin(arch, 4096), 3).unwrap();
        frame.resize(frame.len().next_multiple_of(8), 0);
        frame
    };
    let other = zstd::bulk::compress(&[9; 500], 3).unwrap();
    let mut table = [
        cubin(80, 256),
        framed(75),
        cubin(90, 512),
        framed(86),
        other,
    ]
    .concat();
    table.extend([3; 40]);
    let before = library(&[(".rodata", &table, false)]);
    assert_eq!(
        names(&holdings(&before).tables.cubins)
            .iter()
            .map(|name| &name[..7])
            .collect::<Vec<_>>(),
        ["sm_75 1", "sm_80 1", "sm_86 1", "sm_90 1"]
    );
    let mut after = before.clone();
    let cut = cut(&mut after, &archs(&[86])).unwrap();
    assert_eq!(cut.removed.len(), 2);
    let place = |cubin: &[u8]| {
        let mut windows = before.windows(cubin.len());
        windows.position(|window| window == cubin).unwrap()
    };
    let at = place(&cubin(90, 512));
    assert_eq!(after[at..at + 64], before[at..at + 64], "header kept");
    assert_eq!(after[at + 64..at + 512], [0; 448]);
    let whole: Vec<u8> = [cubin(80, 256), framed(86)].concat();
    for kept in [&whole[..256], &whole[256..]] {
        assert!(after.windows(kept.len()).any(|window| window == kept));
    }
    let frame = place(&framed(75));
    assert_eq!(after[frame..frame + 4], before[frame..frame + 4]);
    assert!(zstd::bulk::decompress(&after[frame..frame + 64], 4096).is_err());
}

#[test]
fn unknown_layouts_are_left_whole_and_counted() {
    let good = region(&[entry(2, 75, 0, &[75; 16]), entry(2, 90, 0, &[90; 16])]);
    let nested = region(&[entry(2, 75, 0, &good)]);
    let mut version = nested.clone();
    version[4] = 2;
    let mut header = nested.clone();
    header[16 + 4] = 48;
    let mut tiling = nested.clone();
    tiling[16 + 8] += 8;
    let mut odd = nested.clone();
    odd[16 + 2] = 7;
    for (broken, size) in [
        (version, None),
        (header, Some(nested.len() as u64)),
        (tiling, Some(nested.len() as u64)),
        (odd, Some(nested.len() as u64)),
    ] {
        let before = library(&[(".nv_fatbin", &[broken, good.clone()].concat(), false)]);
        let mut after = before.clone();
        let cut = cut(&mut after, &archs(&[90])).unwrap();
        assert_eq!((cut.unknown_regions, cut.unknown_bytes), (1, size));
        assert_eq!(cut.blanked_bytes(), 16, "the sound region behind is cut");
        assert_eq!(blanked(&before, &after).len(), 1);
    }
}

#[test]
fn behind_a_region_that_leaves_its_section_nothing_is_touched() {
    let good = region(&[entry(2, 75, 0, &[75; 16]), entry(2, 90, 0, &[90; 16])]);
    let mut long = good.clone();
    long[8..16].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let before = library(&[(".nv_fatbin", &[long, good].concat(), false)]);
    let mut after = before.clone();
    let cut = cut(&mut after, &archs(&[90])).unwrap();
    assert_eq!((cut.unknown_regions, cut.unknown_bytes), (1, None));
    assert_eq!(after, before);
    assert!(!cut.found_nothing());
}

#[test]
fn code_of_unknown_kind_or_letter_is_kept() {
    let good = region(&[
        entry(2, 75, 0, &[75; 16]),
        entry(8, 75, 0, &[8; 16]),
        entry(2, 75, 0x40_0000, &[4; 16]),
        entry(2, 90, 0, &[90; 16]),
    ]);
    let before = library(&[(".nv_fatbin", &good, false)]);
    let mut after = before.clone();
    let cut = cut(&mut after, &archs(&[90])).unwrap();
    assert_eq!(
        cut.other,
        Tally {
            count: 2,
            bytes: 32
        }
    );
    assert_eq!(cut.blanked_bytes(), 16);
    assert_eq!(blanked(&before, &after).len(), 1);
}

#[test]
fn a_library_without_section_table_is_cut_by_its_segments() {
    let good = region(&[entry(2, 75, 0, &[75; 16]), entry(2, 90, 0, &[90; 16])]);
    let mut before = library(&[(".nv_fatbin", &good, false)]);
    before[40..48].fill(0);
    before[60..64].fill(0);
    assert!(holdings(&before).is_empty(), "no segment, no code");
    let segments = before.len() as u64;
    let mut segment = vec![0; 56];
    segment[0] = 1;
    segment[4] = 4;
    segment[32..40].copy_from_slice(&segments.to_le_bytes());
    before.extend(segment);
    before[32..40].copy_from_slice(&segments.to_le_bytes());
    before[54] = 56;
    before[56] = 1;
    let mut after = before.clone();
    assert_eq!(cut(&mut after, &archs(&[90])).unwrap().blanked_bytes(), 16);
    assert_eq!(blanked(&before, &after).len(), 1);
}

proptest! {
    #[test]
    fn damaged_files_never_panic_and_lose_no_byte_that_is_not_blanked(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        length in any::<prop::sample::Index>(),
        short in any::<bool>(),
        gpu in prop::sample::select(vec![75_u32, 86, 87, 90, 121]),
    ) {
        let framed = zstd::bulk::compress(&cubin(86, 4096), 3).unwrap();
        let mut before = [provider(), cubin(75, 128), framed].concat();
        for (at, byte) in edits {
            let at = at.index(before.len());
            before[at] = byte;
        }
        if short {
            before.truncate(length.index(before.len()));
        }
        let mut after = before.clone();
        match cut(&mut after, &archs(&[gpu])) {
            Ok(cut) => {
                let changed: usize = blanked(&before, &after).iter().map(|range| range.len()).sum();
                prop_assert!(changed as u64 <= cut.blanked_bytes());
                let again = super::cut(&mut after.clone(), &archs(&[gpu])).unwrap();
                prop_assert_eq!(&again.kept, &cut.kept);
            }
            Err(_) => prop_assert_eq!(&before, &after),
        }
    }

    #[test]
    fn arbitrary_bytes_behind_a_magic_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        magic in prop::sample::select(vec![
            vec![0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0],
            vec![0x28, 0xb5, 0x2f, 0xfd],
            vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0x33, 7],
        ]),
    ) {
        let mut file = [vec![0; 8], magic, bytes].concat();
        let _ = holdings(&file);
        let _ = cut(&mut file, &archs(&[90]));
    }
}

#[test]
fn what_an_earlier_cut_blanked_is_not_there_any_more() {
    let mut bytes = provider();
    cut(&mut bytes, &archs(&[90])).unwrap();
    assert_eq!(holdings(&bytes).architectures(), ["sm_90a"]);
    let refused = cut(&mut bytes, &archs(&[86]));
    assert!(
        matches!(refused, Err(Refusal::Nothing { .. })),
        "{refused:?}"
    );
}
