//! Checkpoints of every family, made by `scripts/import_goldens.py`, against what transformers computes of them; and what is refused.

use super::Imported;
use super::config::{self, Described};
use super::options::Options;
use crate::model::{self, Ffn, NormSpan, Position, Prepared, census, errors, load};
use crate::protocol::Golden;
use crate::trial::{Float, Form, Precision, Trial};
use crate::units::Bytes;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const FAMILIES: [&str; 9] = [
    "gpt2",
    "llama",
    "smollm2",
    "mistral",
    "qwen3",
    "mixtral",
    "olmoe",
    "qwen3_moe",
    "granitemoe",
];

fn fixture(family: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import");
    folder.join(family)
}

fn golden(family: &str) -> Golden {
    let text = fs::read_to_string(fixture(family).join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn open(family: &str) -> Imported {
    Imported::open(&fixture(family)).unwrap()
}

/// A trial over all positions of a model.
fn trial(imported: &Imported, form: Form, precision: Precision) -> Trial {
    let spec = imported.spec();
    Trial {
        model: spec.name.clone(),
        form,
        precision,
        prompt_tokens: 24,
        gen_tokens: spec.max_positions - 24,
        budget: Bytes(u64::MAX),
        ..Trial::example()
    }
}

fn write(imported: &Imported, form: Form, precision: Precision, folder: &Path) -> Prepared {
    let written = imported.write(form, precision.with(Float::Fp32), folder, &mut |_| {});
    written.unwrap()
}

/// Largest difference from the golden, and that of all logits; see `errors`.
fn difference(
    imported: &Imported,
    form: Form,
    precision: Precision,
    golden: &Golden,
) -> (f32, f32) {
    let folder = tempfile::tempdir().unwrap();
    let prepared = write(imported, form, precision, &folder.path().join("out"));
    let mut engine = load(&prepared, trial(imported, form, precision));
    errors(&mut *engine, golden)
}

#[test]
fn every_family_computes_what_transformers_computes() {
    let mut told = Vec::new();
    for family in FAMILIES {
        let (imported, golden) = (open(family), golden(family));
        assert_eq!(golden.ids.len(), 33);
        for form in [Form::Plain, Form::Fused] {
            let folder = tempfile::tempdir().unwrap();
            let prepared = write(&imported, form, Precision::Fp32, &folder.path().join("out"));
            let mut engine = load(&prepared, trial(&imported, form, Precision::Fp32));
            let (worst, _) = errors(&mut *engine, &golden);
            assert!(worst > 0.0 && worst < 1e-4, "{family} {form}: {worst:e}");
            // By itself: each token from the one that it chose before.
            engine.reset().unwrap();
            engine.append(std::slice::from_ref(&golden.prompt)).unwrap();
            let mut ids = vec![engine.next_ids()[0]];
            while ids.len() < golden.ids.len() {
                engine.step().unwrap();
                ids.push(engine.next_ids()[0]);
            }
            assert_eq!(ids, golden.ids, "{family} {form}");
            told.push(format!("{family} {form}: {worst:.1e}"));
        }
    }
    assert_eq!(told.len(), 18, "{told:#?}");
}

#[test]
fn quantised_weights_cost_what_rounding_costs() {
    let mut told = Vec::new();
    for family in FAMILIES {
        let (imported, golden) = (open(family), golden(family));
        for (precision, most) in [(Precision::Int8, 0.08), (Precision::Int4, 0.5)] {
            let (_, all) = difference(&imported, Form::Fused, precision, &golden);
            told.push((all, most, format!("{family} {precision}: {all:.3}")));
        }
    }
    assert_eq!(told.len(), 18);
    let fits = |(all, most, _): &(f32, f32, String)| *all > 1e-3 && all < most;
    assert!(told.iter().all(fits), "{told:#?}");
}

#[test]
fn values_are_the_same_along_rows_and_along_columns() {
    for family in FAMILIES {
        let imported = open(family);
        for weight in model::weights(imported.spec()) {
            let Some(recipe) = imported.recipes.get(&weight.name) else {
                assert!(weight.is_table());
                continue;
            };
            let (count, last) = (weight.dims.iter().product::<u64>(), weight.last());
            let fill = |start, step, count: u64| {
                let mut values = vec![f32::NAN; count as usize];
                recipe.fill(&imported.checkpoint, last, start, step, &mut values);
                values
            };
            let all = fill(0, 1, count);
            assert!(all.iter().all(|value| value.is_finite()), "{}", weight.name);
            // Pieces that begin and end within rows, tensors and experts.
            for start in [1, last - 1, last + 7, count / 3, count / 2 + 1] {
                let start = start.min(count - 1);
                let length = (count - start).min(5 * last / 2 + 3);
                let expected = &all[start as usize..][..length as usize];
                assert_eq!(fill(start, 1, length), expected, "{} {start}", weight.name);
            }
            for column in [0, last / 2, last - 1] {
                let column_values = fill(column, last, count / last);
                let expected = all.iter().skip(column as usize).step_by(last as usize);
                assert!(
                    column_values.iter().eq(expected),
                    "{} {column}",
                    weight.name
                );
            }
        }
    }
}

#[test]
fn every_option_is_heard_in_the_logits() {
    type Change = fn(&mut Described);
    let cases: &[(&str, Change)] = &[
        ("llama", |it| {
            if let Position::Rotary { scaling, .. } = &mut it.spec.position {
                assert!(scaling.take().is_some());
            }
        }),
        ("olmoe", |it| {
            if let Ffn::Moe { normalize, .. } = &mut it.spec.ffn {
                assert!(!std::mem::replace(normalize, true));
            }
        }),
        ("qwen3_moe", |it| {
            if let Ffn::Moe { normalize, .. } = &mut it.spec.ffn {
                assert!(std::mem::replace(normalize, false));
            }
        }),
        ("granitemoe", |it| {
            assert!(it.spec.embedding_multiplier.take().is_some())
        }),
        ("granitemoe", |it| {
            assert!(it.spec.attention_scale.take().is_some())
        }),
    ];
    for (family, change) in cases {
        let (mut imported, golden) = (open(family), golden(family));
        change(&mut imported.described);
        for form in [Form::Plain, Form::Fused] {
            let (worst, _) = difference(&imported, form, Precision::Fp32, &golden);
            assert!(worst > 1e-2, "{family} {form}: {worst:e}");
        }
    }
    for fold in [0, 1] {
        let (mut imported, golden) = (open("granitemoe"), golden("granitemoe"));
        for (name, recipe) in &mut imported.recipes {
            let branch = ["o.weight", "experts.fc2"]
                .iter()
                .any(|end| name.ends_with(end));
            if recipe.factor != 1.0 && branch == (fold == 0) {
                recipe.factor = 1.0;
            }
        }
        let (worst, _) = difference(&imported, Form::Fused, Precision::Fp32, &golden);
        assert!(worst > 1e-2, "{fold}: {worst:e}");
    }
}

#[test]
fn what_is_written_is_what_inspect_and_the_census_count() {
    for family in FAMILIES {
        let imported = open(family);
        for (form, precision) in [
            (Form::Plain, Precision::Fp16),
            (Form::Fused, Precision::Fp32),
            (Form::Fused, Precision::Int4),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let written = write(&imported, form, precision, &folder.path().join("out"));
            let file = model::onnx::read(&written.graph).unwrap();
            let what = format!("{family} {form} {precision}");
            assert!(file.notes.is_empty(), "{what}: {:?}", file.notes);
            let positions = file.positions.unwrap().0;
            assert_eq!(
                positions,
                u64::from(imported.spec().max_positions),
                "{what}"
            );
            let expected = census(imported.spec());
            assert_eq!(
                file.caches.unwrap().inputs,
                2 * u64::from(imported.spec().n_layers)
            );
            assert_eq!(file.counts.total, Ok(expected.total), "{what}");
            // Which expert a token chooses is spelled out in the plain form.
            if form == Form::Fused {
                assert_eq!(file.counts.active, Ok(expected.active), "{what}");
            }
            assert!(
                file.counts.unknown.is_empty(),
                "{what}: {:?}",
                file.counts.unknown
            );
        }
    }
}

/// The options of a family's fixture with some of them changed; null takes one away.
fn options(family: &str, changes: Value) -> (tempfile::TempDir, Options) {
    let text = fs::read_to_string(fixture(family).join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let all = config.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        all.insert(key.clone(), value.clone());
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let options = Options::read(folder.path()).unwrap();
    (folder, options)
}

fn described(family: &str, changes: Value) -> Result<Described, String> {
    let (_folder, options) = options(family, changes);
    config::describe(options, "some model").map_err(|error| error.to_string())
}

#[test]
fn an_option_that_is_not_known_is_named() {
    let cases = [
        (
            "llama",
            json!({"model_type": "mamba"}),
            "model_type is mamba",
        ),
        ("llama", json!({"model_type": null}), "no text model_type"),
        (
            "llama",
            json!({"architectures": ["LlamaForSequenceClassification"]}),
            "LlamaForSequenceClassification",
        ),
        (
            "llama",
            json!({"attention_bias": true}),
            "attention_bias is true",
        ),
        ("llama", json!({"mlp_bias": true}), "mlp_bias is true"),
        (
            "llama",
            json!({"hidden_act": "gelu"}),
            "hidden_act is \"gelu\"",
        ),
        (
            "llama",
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config (here {\"bits\":4})",
        ),
        ("llama", json!({"new_thing": 7}), "new_thing (here 7)"),
        (
            "llama",
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor is 0.5",
        ),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "linear"}}),
            "both rope_parameters and rope_scaling",
        ),
        ("llama", json!({"rope_parameters": null}), ""),
        (
            "llama",
            json!({"rope_parameters": null, "rope_scaling": {"type": "yarn", "factor": 2.0}}),
            "rope_type is \"yarn\"",
        ),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "llama3"}}),
            "no number factor",
        ),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "default", "mrope_section": [1]}}),
            "mrope_section",
        ),
        (
            "llama",
            json!({"hidden_size": null}),
            "no number hidden_size",
        ),
        ("llama", json!({"hidden_size": 0}), "hidden_size is 0"),
        ("llama", json!({"hidden_size": -4}), "hidden_size is -4"),
        (
            "llama",
            json!({"num_hidden_layers": 4_000_000_000u32}),
            "num_hidden_layers is 4000000000",
        ),
        ("llama", json!({"num_key_value_heads": 3}), "4 query heads"),
        (
            "llama",
            json!({"rms_norm_eps": "small"}),
            "rms_norm_eps is \"small\"",
        ),
        ("llama", json!({"rms_norm_eps": 1e-60}), "in 32 bits"),
        (
            "llama",
            json!({"tie_word_embeddings": "no"}),
            "tie_word_embeddings is \"no\"",
        ),
        (
            "gpt2",
            json!({"activation_function": "relu"}),
            "activation_function is \"relu\"",
        ),
        (
            "gpt2",
            json!({"activation_function": null}),
            "activation_function",
        ),
        (
            "gpt2",
            json!({"scale_attn_by_inverse_layer_idx": true}),
            "scale_attn_by_inverse_layer_idx",
        ),
        (
            "gpt2",
            json!({"scale_attn_weights": false}),
            "scale_attn_weights is false",
        ),
        ("olmoe", json!({"clip_qkv": 8.0}), "clip_qkv (here 8.0)"),
        ("olmoe", json!({"num_experts_per_tok": 9}), "9 of 5 experts"),
        (
            "qwen3_moe",
            json!({"decoder_sparse_step": 2}),
            "decoder_sparse_step is 2",
        ),
        (
            "qwen3_moe",
            json!({"mlp_only_layers": [0]}),
            "mlp_only_layers is [0]",
        ),
        ("qwen3_moe", json!({"num_experts": 3}), "num_experts is 3"),
        (
            "qwen3",
            json!({"layer_types": ["linear_attention"]}),
            "linear_attention",
        ),
    ];
    for (family, changes, word) in cases {
        let what = changes.to_string();
        match described(family, changes) {
            Ok(_) => assert_eq!(word, "", "{what}"),
            Err(text) => {
                assert!(!word.is_empty() && text.contains(word), "{what}: {text}");
                assert!(
                    text.contains("config.json") && text.contains("nothing was written"),
                    "{text}"
                );
            }
        }
    }
    // All of them at once.
    let text = described("llama", json!({"mlp_bias": true, "one": 1, "two": 2})).unwrap_err();
    assert!(
        ["mlp_bias", "one (", "two ("]
            .iter()
            .all(|word| text.contains(word)),
        "{text}"
    );
}

#[test]
fn options_of_older_files_mean_the_same() {
    let now = described("llama", json!({})).unwrap();
    let before = json!({
        "rope_parameters": null,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
        "head_dim": null,
        "torch_dtype": "bfloat16",
    });
    assert_eq!(described("llama", before).unwrap(), now);
    assert_eq!(now.spec.name, "some-model");
    assert!(now.notes.is_empty());
    let gpt2 = described("gpt2", json!({"n_inner": null})).unwrap();
    assert_eq!(gpt2.spec.ffn, Ffn::Gelu { d_ff: 256 });
    let olmoe = described("olmoe", json!({})).unwrap();
    assert_eq!(olmoe.spec.qk_norm_over, NormSpan::AllHeads);
}

#[test]
fn a_window_shorter_than_the_model_limits_its_sequences() {
    let mistral = described("mistral", json!({})).unwrap();
    assert_eq!(mistral.spec.max_positions, 64);
    assert!(
        mistral.notes[0].contains("limited to 64 of its 128 positions"),
        "{:?}",
        mistral.notes
    );
    for (changes, positions) in [
        (json!({"sliding_window": null}), 128),
        (json!({"sliding_window": 128}), 128),
        (json!({"sliding_window": 4096}), 128),
    ] {
        let mistral = described("mistral", changes).unwrap();
        assert_eq!(
            (mistral.spec.max_positions, mistral.notes.len()),
            (positions, 0)
        );
    }
    // In Qwen3 a window that is set may yet not be used.
    for (changes, positions) in [
        (json!({"sliding_window": 16, "layer_types": null}), 128),
        (
            json!({"sliding_window": 16, "layer_types": null, "use_sliding_window": true}),
            16,
        ),
        (
            json!({"sliding_window": 16, "layer_types": ["full_attention", "sliding_attention"]}),
            16,
        ),
    ] {
        assert_eq!(
            described("qwen3", changes).unwrap().spec.max_positions,
            positions
        );
    }
}

/// A copy of a fixture in one file, as a header and data, to be spoilt.
struct Copy {
    folder: tempfile::TempDir,
    header: serde_json::Map<String, Value>,
    data: Vec<u8>,
}

impl Copy {
    fn of(family: &str) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        let config = fixture(family).join("config.json");
        fs::copy(config, folder.path().join("config.json")).unwrap();
        let bytes = fs::read(fixture(family).join("model.safetensors")).unwrap();
        let (length, rest) = bytes.split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        Copy {
            folder,
            header: serde_json::from_slice(&rest[..length]).unwrap(),
            data: rest[length..].to_vec(),
        }
    }

    /// Adds a tensor of bf16 zeros or of these bytes.
    fn add(&mut self, name: &str, dims: &[u64], bytes: Option<Vec<u8>>) {
        let (from, size) = (self.data.len(), 2 * dims.iter().product::<u64>() as usize);
        self.data.extend(bytes.unwrap_or_else(|| vec![0; size]));
        let offsets = [from, self.data.len()];
        let entry = json!({"dtype": "BF16", "shape": dims, "data_offsets": offsets});
        self.header.insert(name.into(), entry);
    }

    /// The bytes of a tensor.
    fn place(&self, name: &str) -> std::ops::Range<usize> {
        let offset = |at: usize| self.header[name]["data_offsets"][at].as_u64().unwrap() as usize;
        offset(0)..offset(1)
    }

    fn write(&self) -> &Path {
        let header = serde_json::to_vec(&self.header).unwrap();
        let bytes = [
            &(header.len() as u64).to_le_bytes()[..],
            &header,
            &self.data,
        ]
        .concat();
        fs::write(self.folder.path().join("model.safetensors"), bytes).unwrap();
        self.folder.path()
    }

    fn refusal(&self) -> String {
        Imported::open(self.write())
            .map(drop)
            .unwrap_err()
            .to_string()
    }
}

#[test]
fn tensors_missing_left_over_or_of_another_shape_are_named() {
    let q = "model.layers.1.self_attn.q_proj.weight";
    // Under another name it is missing, and left over as well.
    let mut copy = Copy::of("llama");
    let entry = copy.header.remove(q).unwrap();
    copy.header
        .insert("model.layers.1.self_attn.rotated".into(), entry);
    let text = copy.refusal();
    assert!(text.contains("lacks tensors") && text.contains(q), "{text}");
    let mut copy = Copy::of("llama");
    copy.add("model.layers.0.self_attn.q_proj.bias", &[64], None);
    let text = copy.refusal();
    assert!(
        text.contains("nothing of its config.json reads: model.layers.0.self_attn.q_proj.bias"),
        "{text}"
    );
    let mut copy = Copy::of("llama");
    copy.header[q]["shape"] = json!([32, 128]);
    let text = copy.refusal();
    assert!(
        text.contains(&format!("{q} [32, 128] instead of [64, 64]")),
        "{text}"
    );
    // One tensor of experts that is not in line.
    let mut copy = Copy::of("granitemoe");
    let name = "model.layers.0.block_sparse_moe.input_linear.weight";
    copy.header[name]["shape"] = json!([2, 128, 64]);
    let text = copy.refusal();
    assert!(
        text.contains(name) && text.contains("[4, 64, 64]"),
        "{text}"
    );
    let mut copy = Copy::of("mixtral");
    for expert in 4..9 {
        copy.add(
            &format!("model.layers.0.block_sparse_moe.experts.{expert}.w1.weight"),
            &[32, 64],
            None,
        );
    }
    let text = copy.refusal();
    assert!(
        text.contains("experts.4.w1") && text.contains("and 2 more"),
        "{text}"
    );
}

#[test]
fn what_follows_from_other_tensors_may_be_there() {
    // A tied head that was saved all the same, and tables of old versions.
    let mut copy = Copy::of("granitemoe");
    let embedding = copy.data[copy.place("model.embed_tokens.weight")].to_vec();
    copy.add("lm_head.weight", &[128, 64], Some(embedding));
    copy.add("model.layers.0.self_attn.rotary_emb.inv_freq", &[8], None);
    Imported::open(copy.write()).unwrap();
    // Another head is no copy of the embedding.
    let place = copy.place("lm_head.weight").start;
    copy.data[place] ^= 1;
    let text = copy.refusal();
    assert!(text.contains("reads: lm_head.weight"), "{text}");
    // A body that was saved without its head has shorter names.
    let mut copy = Copy::of("gpt2");
    let header = std::mem::take(&mut copy.header);
    let short = |name: String| name.trim_start_matches("transformer.").to_owned();
    copy.header = header
        .into_iter()
        .map(|(name, entry)| (short(name), entry))
        .collect();
    copy.add("h.0.attn.bias", &[1, 1, 64, 64], None);
    let imported = Imported::open(copy.write()).unwrap();
    let (worst, _) = difference(&imported, Form::Fused, Precision::Fp32, &golden("gpt2"));
    assert!(worst < 1e-4, "{worst:e}");
}

#[test]
fn numbers_that_cannot_be_stored_are_refused_and_nothing_is_left() {
    let name = "model.layers.0.mlp.up_proj.weight";
    let mut copy = Copy::of("llama");
    let place = copy.place(name).start;
    // 2^17 as bf16.
    copy.data[place..place + 2].copy_from_slice(&0x4800u16.to_le_bytes());
    let imported = Imported::open(copy.write()).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let output = outside.path().join("out");
    let write = |precision: Precision| {
        let written = imported.write(
            Form::Fused,
            precision.with(Float::Fp32),
            &output,
            &mut |_| {},
        );
        written.map(drop).map_err(|error| error.to_string())
    };
    for precision in [Precision::Fp16, Precision::Int4] {
        let text = write(precision).unwrap_err();
        assert!(
            text.contains("l0.up.weight") && text.contains("--precision fp32"),
            "{text}"
        );
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
    assert_eq!(write(Precision::Fp32), Ok(()));
    // Not a number: in no type.
    copy.data[place..place + 2].copy_from_slice(&0x7FC0u16.to_le_bytes());
    let imported = Imported::open(copy.write()).unwrap();
    let fp32 = Precision::Fp32.with(Float::Fp32);
    let again = imported.write(
        Form::Fused,
        fp32,
        &outside.path().join("other"),
        &mut |_| {},
    );
    assert!(
        again
            .map(drop)
            .unwrap_err()
            .to_string()
            .contains("not finite")
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}
