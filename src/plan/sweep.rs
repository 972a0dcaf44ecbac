//! Lists to ordered trials with stable ids; pure. The same request gives the same trials in the same order.

use super::auto::{self, PassedOver};
use super::ways::{Way, as_it_is, ways};
use super::{
    DEFAULT_GEN_TOKENS, DEFAULT_PROMPT_TOKENS, Facts, PrecisionChoice, Predict, Request, SUITES,
    Selection,
};
use crate::error::{Error, Result};
use crate::model::{ModelSpec, builtin, find};
use crate::trial::{Form, KvCache, Offload, Precision, Trial};
use crate::units::Bytes;

/// One cell of the sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The model.
    pub spec: &'static ModelSpec,
    /// The trial.
    pub trial: Trial,
    /// Whether settings of the runtime may be tried and kept.
    pub tune: bool,
    /// Wider precisions that `auto` stands for and that are predicted not to fit.
    pub passed_over: Vec<PassedOver>,
}

/// The models of the selection: those named in the order given, a suite's in the order of the list.
pub fn select(selection: &Selection) -> Result<Vec<&'static ModelSpec>> {
    match selection {
        Selection::Models(names) => unique(names)
            .into_iter()
            .map(|name| find_model(&name))
            .collect(),
        Selection::Suite(name) if SUITES.contains(&name.as_str()) => Ok(builtin()
            .iter()
            .filter(|spec| spec.suites.contains(name))
            .collect()),
        Selection::Suite(name) => Err(Error::Usage(format!(
            "--suite {name}: there is no such suite; choose from {}",
            SUITES.join(", ")
        ))),
    }
}

/// The built-in model of this name, or a sentence with the names there are.
pub fn find_model(name: &str) -> Result<&'static ModelSpec> {
    find(name).ok_or_else(|| {
        let known: Vec<_> = builtin().iter().map(|spec| spec.name.as_str()).collect();
        Error::Usage(format!(
            "there is no model {name}; choose from {}",
            known.join(", ")
        ))
    })
}

/// All combinations: budget, then model, form, precision, KV cache, batch, prompt length, generated tokens, each in the order given.
/// Where there are several budgets, each is a part of its trials' ids. What `auto` is may differ between the trials of a model.
pub fn expand(
    specs: &[&'static ModelSpec],
    request: &Request,
    facts: &Facts,
    budgets: &[Bytes],
    predict: Predict<'_>,
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for budget in budgets {
        let mut of_budget = in_budget(specs, request, facts, *budget, predict);
        if budgets.len() > 1 {
            let suffix = format!("/vram{}", argument(*budget));
            of_budget
                .iter_mut()
                .for_each(|cell| cell.trial.id.push_str(&suffix));
        }
        cells.append(&mut of_budget);
    }
    cells
}

/// The cells of one budget.
fn in_budget(
    specs: &[&'static ModelSpec],
    request: &Request,
    facts: &Facts,
    budget: Bytes,
    predict: Predict<'_>,
) -> Vec<Cell> {
    let (all_ways, batches) = (ways(request, facts), unique(&request.batches));
    let kv_caches = unique(&request.kv_caches);
    let mut cells: Vec<Cell> = Vec::new();
    for spec in specs {
        if let Some(trial) = pass(spec, request, facts, budget) {
            cells.push(Cell {
                spec,
                trial,
                tune: false,
                passed_over: Vec::new(),
            });
            continue;
        }
        // A graph that another program wrote is as it is.
        let as_it_is = spec
            .foreign
            .map(|foreign| vec![as_it_is(foreign, request, facts)]);
        let ways = as_it_is.unwrap_or_else(|| all_ways.clone());
        let precisions = match spec.foreign {
            Some(foreign) => vec![PrecisionChoice::Exactly(foreign.precision)],
            None => unique(&request.precisions),
        };
        let shapes = shapes(spec, request);
        let mut add = |way: Way, choice: PrecisionChoice, cache, batch: u32, shape| {
            let chosen = |way: Way, choice: PrecisionChoice| {
                let kinds = auto::candidates(choice, way.form, facts.device).into_iter();
                let trials = kinds.map(|kind| {
                    let kind = (way, kind, cache);
                    trial(spec, kind, batch, shape, request, facts, budget)
                });
                auto::choose(spec, trials.collect(), predict)
            };
            // All steps of a ladder have the precision of the last: a step that needs more memory would take another.
            let choice = match ways.last().filter(|_| request.ablate) {
                Some(last) => chosen(*last, choice).map_or(choice, |(trial, _)| {
                    PrecisionChoice::Exactly(trial.precision)
                }),
                None => choice,
            };
            // No step for what standard operators cannot do.
            let plain_cannot = choice.is_quantized() || cache != KvCache::Float;
            if request.ablate && way.form == Form::Plain && plain_cannot {
                return;
            }
            let Some((trial, passed_over)) = chosen(way, choice) else {
                return;
            };
            // What `auto` is may have been asked for by name as well.
            if cells.iter().all(|cell| cell.trial.id != trial.id) {
                cells.push(Cell {
                    spec,
                    trial,
                    // What waits for the link gains nothing from faster kernels, and they take memory.
                    tune: way.tune && request.offload == Offload::None,
                    passed_over,
                });
            }
        };
        for way in &ways {
            for choice in precisions.clone() {
                for cache in &kv_caches {
                    for batch in &batches {
                        let mut add = |shape| add(*way, choice, *cache, *batch, shape);
                        shapes.iter().for_each(|shape| add(*shape));
                    }
                }
            }
        }
    }
    cells
}

/// Prompt lengths and generated tokens for this model; a default is cut to what a small model has room for.
fn shapes(spec: &ModelSpec, request: &Request) -> Vec<(u32, u32)> {
    let or = |given: &[u32], default: u32| match given {
        [] => vec![default],
        _ => unique(given),
    };
    let (prompt, count) = lengths(None, None, Some(spec.max_positions.into()));
    let prompts = or(&request.prompt_tokens, prompt);
    let generated = or(&request.gen_tokens, count);
    let pairs = prompts
        .iter()
        .flat_map(|prompt| generated.iter().map(move |count| (*prompt, *count)));
    pairs.collect()
}

/// Prompt length and generated tokens as given; a default is cut to what few positions have room for.
pub fn lengths(prompt: Option<u32>, generated: Option<u32>, positions: Option<u64>) -> (u32, u32) {
    let cut = |default: u32, part: u64| {
        let room = positions.map(|count| (count / part).max(1));
        room.and_then(|room| u32::try_from(room).ok())
            .map_or(default, |room| default.min(room))
    };
    (
        prompt.unwrap_or_else(|| cut(DEFAULT_PROMPT_TOKENS, 2)),
        generated.unwrap_or_else(|| cut(DEFAULT_GEN_TOKENS, 4)),
    )
}

/// The trial of one cell.
fn trial(
    spec: &ModelSpec,
    (way, precision, kv_cache): (Way, Precision, KvCache),
    batch: u32,
    (prompt_tokens, gen_tokens): (u32, u32),
    request: &Request,
    facts: &Facts,
    budget: Bytes,
) -> Trial {
    let (name, form, cache) = (&spec.name, way.form, kv_cache.suffix());
    // No model attends to more tokens than it has positions.
    let kv_room = request.kv_room.map(|room| room.min(spec.max_positions));
    let room = Trial::room_suffix(kv_room);
    let offload = request.offload.suffix();
    let suffix = format!("{cache}{room}{offload}{}", way.suffix);
    Trial {
        id: format!("{name}/{form}/{precision}/b{batch}/pp{prompt_tokens}/tg{gen_tokens}{suffix}"),
        model: name.clone(),
        form,
        precision,
        kv_cache,
        kv_update: way.kv_update,
        kv_room,
        device: facts.device,
        batch,
        prompt_tokens,
        gen_tokens,
        repetitions: request.repetitions,
        warmup: request.warmup,
        steady: request.steady,
        threads: request.threads.unwrap_or(facts.cores).max(1),
        cuda_graph: way.cuda_graph,
        seed: request.seed,
        budget,
        offload: request.offload,
        pass: None,
        tuning: Vec::new(),
    }
}

/// The one trial of a model that is no decoder: it has no tokens.
fn pass(spec: &ModelSpec, request: &Request, facts: &Facts, budget: Bytes) -> Option<Trial> {
    let foreign = spec.foreign?;
    // What is wrong with them was told when the model was taken in.
    let (pass, items) = foreign.pass(&request.dims, &request.inputs)?.ok()?;
    let way = as_it_is(foreign, request, facts);
    let kind = (way, foreign.precision, KvCache::Float);
    let trial = trial(spec, kind, items, (0, 0), request, facts, budget);
    Some(Trial {
        id: format!(
            "{}/{}/{}/{}",
            spec.name,
            foreign.form,
            foreign.precision,
            pass.name()
        ),
        kv_room: None,
        pass: Some(pass),
        ..trial
    })
}

/// A size as an argument of `--vram-budget`, exactly and in the largest unit: `4G`, `1536M`.
fn argument(size: Bytes) -> String {
    let units = [(30, "G"), (20, "M"), (10, "K")];
    let whole = units
        .iter()
        .find(|(shift, _)| size.0 > 0 && size.0.trailing_zeros() >= *shift);
    match whole {
        Some((shift, unit)) => format!("{}{unit}", size.0 >> shift),
        None => format!("{}B", size.0),
    }
}

/// The items without repetitions, each where it came first.
fn unique<T: Clone + PartialEq>(items: &[T]) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for item in items {
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::footprint;
    use crate::trial::{Device, Offload};
    use proptest::prelude::*;
    use std::collections::HashSet;

    const GPU: Facts = Facts {
        device: Device::Cuda(0),
        device_memory: Some(Bytes(16 << 30)),
        cores: 8,
    };

    fn request(models: Vec<String>) -> Request {
        Request {
            selection: Selection::Models(models),
            forms: vec![Form::Plain, Form::Fused],
            precisions: vec![
                PrecisionChoice::Auto,
                PrecisionChoice::Exactly(Precision::Fp16),
            ],
            kv_caches: vec![KvCache::Float],
            ablate: false,
            offload: Offload::None,
            kv_room: None,
            external_paths: Default::default(),
            dims: Default::default(),
            inputs: Default::default(),
            batches: vec![1],
            prompt_tokens: vec![],
            gen_tokens: vec![],
            repetitions: 5,
            warmup: 1,
            steady: false,
            threads: None,
            cuda_graph: true,
            seed: 42,
            budgets: vec![],
        }
    }

    fn cells(request: &Request) -> Vec<Cell> {
        expand(
            &select(&request.selection).unwrap(),
            request,
            &GPU,
            &[Bytes(16 << 30)],
            &footprint,
        )
    }

    #[test]
    fn all_steps_of_a_ladder_have_the_precision_of_the_last() {
        let ladder = |budget: u64| {
            let mut request = request(vec!["llama-1b".into()]);
            (request.ablate, request.precisions) = (true, vec![PrecisionChoice::Auto]);
            let specs = select(&request.selection).unwrap();
            let cells = expand(&specs, &request, &GPU, &[Bytes(budget)], &footprint);
            let kinds = cells
                .iter()
                .map(|cell| (cell.trial.form, cell.trial.precision));
            kinds.collect::<Vec<_>>()
        };
        let (plain, fused) = (Form::Plain, Form::Fused);
        let fp16 = Precision::Fp16;
        let wide = [
            (plain, fp16),
            (fused, fp16),
            (fused, fp16),
            (fused, fp16),
            (fused, fp16),
        ];
        assert_eq!(ladder(8 << 30), wide);
        assert_eq!(ladder(2 << 30), [(fused, Precision::Int8); 4]);
    }

    #[test]
    fn the_order_is_models_as_listed_then_form_precision_batch_length() {
        let mut request = request(vec![
            "tiny-llama".into(),
            "dense-120m".into(),
            "tiny-llama".into(),
        ]);
        request.batches = vec![2, 1, 2];
        let ids: Vec<_> = cells(&request)
            .into_iter()
            .map(|cell| cell.trial.id)
            .collect();
        let expected = [
            "tiny-llama/plain/fp16/b2/pp64/tg32",
            "tiny-llama/plain/fp16/b1/pp64/tg32",
            "tiny-llama/fused/fp16/b2/pp64/tg32",
            "tiny-llama/fused/fp16/b1/pp64/tg32",
            "dense-120m/plain/fp16/b2/pp256/tg128",
            "dense-120m/plain/fp16/b1/pp256/tg128",
            "dense-120m/fused/fp16/b2/pp256/tg128",
            "dense-120m/fused/fp16/b1/pp256/tg128",
        ];
        assert_eq!(ids, expected);
    }

    #[test]
    fn a_budget_in_an_id_is_exact_and_short() {
        let cases = [
            (4 << 30, "4G"),
            (3 << 29, "1536M"),
            (5 << 10, "5K"),
            ((1 << 30) + 1, "1073741825B"),
            (0, "0B"),
        ];
        for (bytes, text) in cases {
            assert_eq!(argument(Bytes(bytes)), text);
        }
    }

    #[test]
    fn a_cuda_graph_is_for_the_fused_form_on_a_gpu() {
        for Cell { trial, .. } in cells(&request(vec!["dense-120m".into()])) {
            assert_eq!(trial.cuda_graph, trial.form == Form::Fused);
        }
    }

    #[test]
    fn unknown_names_list_the_known() {
        let model = select(&Selection::Models(vec!["gpt".into()])).unwrap_err();
        assert!(model.to_string().contains("dense-120m, "), "{model}");
        let suite = select(&Selection::Suite("all".into())).unwrap_err();
        assert!(suite.to_string().contains("sanity, quick"), "{suite}");
    }

    #[test]
    fn the_quick_suite_is_in_the_order_of_the_list() {
        let specs = select(&Selection::Suite("quick".into())).unwrap();
        let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "dense-120m",
                "moe-120m-a82m",
                "moe-295m-a120m",
                "alchemist-16m"
            ]
        );
    }

    proptest! {
        #[test]
        fn ids_are_unique_complete_and_reproducible(
            models in prop::collection::vec(0..builtin().len(), 1..5),
            batches in prop::collection::vec(1u32..6, 1..5),
            prompts in prop::collection::vec(1u32..9, 0..4),
            generated in prop::collection::vec(1u32..9, 0..4),
            budgets in prop::collection::btree_set(1u64..9, 1..4),
        ) {
            let mut request = request(models.iter().map(|at| builtin()[*at].name.clone()).collect());
            (request.batches, request.prompt_tokens, request.gen_tokens) = (batches, prompts, generated);
            let budgets: Vec<_> = budgets.into_iter().map(|count| Bytes(count << 29)).collect();
            // Everything fits: then auto is fp16, which is asked for by name as well.
            let nothing = |_: &ModelSpec, _: &Trial| crate::model::Footprint::default();
            let cells = |request: &Request| expand(&select(&request.selection).unwrap(), request, &GPU, &budgets, &nothing);
            let (first, second) = (cells(&request), cells(&request));
            prop_assert_eq!(&first, &second);
            let ids: HashSet<_> = first.iter().map(|cell| &cell.trial.id).collect();
            prop_assert_eq!(ids.len(), first.len());
            let distinct = |items: &[u32]| items.iter().collect::<HashSet<_>>().len().max(1);
            let models: HashSet<_> = models.into_iter().collect();
            let expected = budgets.len() * models.len() * 2 * distinct(&request.batches)
                * distinct(&request.prompt_tokens) * distinct(&request.gen_tokens);
            prop_assert_eq!(first.len(), expected);
        }
    }
}
