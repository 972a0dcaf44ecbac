//! Properties of the caches, and traces whose answers are known.

use super::*;
use crate::model::{find, work};
use crate::trial::{Device, Precision, Trial};
use proptest::prelude::*;

const DYNAMIC: [CachePolicy; 2] = [CachePolicy::Lru, CachePolicy::Lfu];

fn layer(trace: Vec<Vec<u32>>, experts: usize) -> RoutedLayer {
    let mut chosen = vec![0; experts];
    for expert in trace.iter().flatten() {
        chosen[*expert as usize] += 1;
    }
    RoutedLayer {
        layer: "l".into(),
        tokens: trace.len() as u64 / 2,
        chosen,
        trace,
    }
}

fn of(trace: &[RoutedLayer], limits: Option<&DeviceLimits>) -> Result<ExpertReuse, String> {
    let trial = Trial {
        device: Device::Cuda(0),
        precision: Precision::Fp16,
        batch: 1,
        ..Trial::example()
    };
    let work = work(find("granite-1b-a400m").unwrap(), &trial);
    let model = Experts {
        bytes: 3_145_728,
        layers: 24,
        work: &work,
        limits,
    };
    reuse(trace, &model)
}

/// Numbers without a pattern.
fn mixed(at: usize) -> u32 {
    let state = (at as u32).wrapping_add(1).wrapping_mul(2_654_435_761);
    (state ^ state >> 15).wrapping_mul(2_246_822_519) >> 8
}

fn uses() -> impl Strategy<Value = Vec<Expert>> {
    proptest::collection::vec((0usize..3, 0u32..12), 1..200)
}

proptest! {
    #[test]
    fn no_cache_hits_more_than_there_is_and_a_larger_lru_hits_no_less(
        uses in uses(),
        from in 0usize..100,
    ) {
        let judged = uses.len().saturating_sub(from);
        for policy in [CachePolicy::Static, CachePolicy::Lru, CachePolicy::Lfu] {
            for slots in 0..40 {
                prop_assert!(hits(&uses, from, policy, slots) <= judged);
            }
            prop_assert_eq!(hits(&uses, from, policy, 0), 0);
        }
        let lru = |slots| hits(&uses, from, CachePolicy::Lru, slots);
        prop_assert!((0..40).all(|slots| lru(slots) <= lru(slots + 1)));
        let fixed = |slots| hits(&uses, from, CachePolicy::Static, slots);
        prop_assert!((0..40).all(|slots| fixed(slots) <= fixed(slots + 1)));
    }

    #[test]
    fn a_full_cache_misses_the_first_use_of_each_expert_and_no_other(uses in uses()) {
        let different: std::collections::BTreeSet<_> = uses.iter().collect();
        for policy in DYNAMIC {
            prop_assert_eq!(hits(&uses, 0, policy, 36), uses.len() - different.len());
        }
    }

    #[test]
    fn rates_are_shares_and_what_remains_is_what_missed(
        picks in proptest::collection::vec((0u32..8, 1u32..8), 8..80),
    ) {
        let tokens = picks.iter().map(|(first, step)| vec![*first, (first + step) % 8]);
        let trace = [layer(tokens.clone().collect(), 8), layer(tokens.rev().collect(), 8)];
        let found = of(&trace, None).unwrap();
        prop_assert_eq!(found.caches.len(), SHARES.len() * 2 * 3);
        for cache in &found.caches {
            prop_assert!((0.0..=1.0).contains(&cache.hit_rate), "{:?}", cache);
            prop_assert!((cache.random_hit_rate - cache.share).abs() < 1e-9);
            let remains = found.link_bytes_per_token * (1.0 - cache.hit_rate);
            prop_assert!((cache.link_bytes_per_token - remains).abs() < 1.0);
            prop_assert_eq!(cache.bytes, cache.slots * found.expert_bytes);
        }
    }
}

#[test]
fn the_hottest_are_those_of_the_first_half_and_not_of_the_second() {
    // 0 and 1 first, 6 and 7 then: what never changes has the wrong ones, what follows has the right ones.
    let tokens = (0..40).map(|at| if at < 20 { vec![0, 1] } else { vec![6, 7] });
    let found = of(&[layer(tokens.collect(), 8)], None).unwrap();
    let rate = |policy, share| {
        let mut caches = found.caches.iter();
        let cache = caches.find(|one| (one.policy, one.share) == (policy, share));
        cache.unwrap().hit_rate
    };
    assert_eq!(rate(CachePolicy::Static, 0.25), 0.0);
    assert_eq!(rate(CachePolicy::Lru, 0.25), 38.0 / 40.0);
    // Counts of before keep the old ones until the new ones have as many.
    assert!(rate(CachePolicy::Lfu, 0.25) < rate(CachePolicy::Lru, 0.25));
    assert_eq!((found.prompt_tokens, found.generated_tokens), (20, 20));
    assert_eq!(found.judged_tokens, 20);
    assert!(
        found.verdict.starts_with("a cache pays: "),
        "{}",
        found.verdict
    );
}

#[test]
fn random_choices_make_a_cache_worth_its_size() {
    let token = |at: usize| {
        let first = mixed(2 * at) % 16;
        vec![first, (first + 1 + mixed(2 * at + 1) % 15) % 16]
    };
    let found = of(&[layer((0..4000).map(token).collect(), 16)], None).unwrap();
    for cache in &found.caches {
        assert!(
            (cache.hit_rate - cache.random_hit_rate).abs() < WORTH,
            "{cache:?}"
        );
    }
    let words = &found.verdict;
    assert!(words.starts_with("a cache does not pay"), "{words}");
    assert!(
        words.contains("about equally likely (entropy 100 %)"),
        "{words}"
    );
}

#[test]
fn less_over_the_link_is_predicted_to_be_quicker_where_the_link_is_known() {
    let tokens = (0..64).map(|at| vec![mixed(at) % 2, 2 + mixed(at + 99) % 2]);
    let trace = [layer(tokens.collect(), 16)];
    let limits = DeviceLimits {
        read_bytes_s: Ok(2.28e12),
        copy_bytes_s: Ok(3.0e12),
        to_device_bytes_s: Ok(52.7e9),
        graph_launch_s: Ok(1.28e-6),
        ..DeviceLimits::default()
    };
    let found = of(&trace, Some(&limits)).unwrap();
    let without = found.predicted_decode_tok_s.unwrap();
    for cache in &found.caches {
        let with = cache.predicted_decode_tok_s.unwrap();
        assert_eq!(with > without, cache.hit_rate > 0.0, "{cache:?}: {without}");
    }
    assert_eq!(found.not_predicted, None);
    let unknown = of(&trace, None).unwrap();
    assert!(
        unknown
            .caches
            .iter()
            .all(|one| one.predicted_decode_tok_s.is_none())
    );
    assert!(unknown.not_predicted.unwrap().contains("not measured"));
    let limits = DeviceLimits {
        to_device_bytes_s: Err("no GPU".into()),
        ..limits
    };
    let none = of(&trace, Some(&limits)).unwrap().not_predicted.unwrap();
    assert!(none.contains("no GPU"), "{none}");
}

#[test]
fn a_trace_with_holes_or_too_short_has_no_caches() {
    let whole = layer(vec![vec![0, 1]; 8], 4);
    let short = layer(vec![vec![0, 1]; 7], 4);
    assert!(
        of(&[whole.clone(), short], None)
            .unwrap_err()
            .contains("every token")
    );
    assert!(of(&[layer(vec![vec![0]; 3], 4)], None).is_err());
    assert!(of(&[layer(vec![vec![0]; 8], 1)], None).is_err());
    assert!(of(&[], None).is_err());
    // An eighth of four experts is none.
    let found = of(&[whole], None).unwrap();
    assert!(found.caches.iter().all(|cache| cache.share > 0.125));
}

#[test]
fn what_few_uses_can_do_by_chance_is_no_gain() {
    let cache = |hit_rate| ExpertCache {
        policy: CachePolicy::Lru,
        scope: CacheScope::Layer,
        share: 0.5,
        slots: 4,
        bytes: 4,
        hit_rate,
        random_hit_rate: 0.5,
        link_bytes_per_token: 1.0,
        predicted_decode_tok_s: None,
    };
    let few = verdict(&[cache(0.4), cache(0.65)], 0.9, 40);
    assert!(few.starts_with("a cache does not pay"), "{few}");
    assert!(
        few.contains("hits 65 %") && few.ends_with("in 40 uses that much is chance"),
        "{few}"
    );
    assert!(verdict(&[cache(0.4), cache(0.65)], 0.9, 4000).starts_with("a cache pays"));
    let never = verdict(&[cache(0.4)], 0.5, 4000);
    assert!(never.ends_with("is not in the other"), "{never}");
    assert!(verdict(&[], 1.0, 0).contains("too few experts"));
}
