//! What names of constants and nodes tell of their part, in the words of the usual exporters.

use super::super::part::Part;

/// The part that a name speaks of.
pub fn by_name(name: &str) -> Option<Part> {
    const WORDS: [(&str, Part); 45] = [
        ("shared_expert", Part::Ffn),
        ("router", Part::Router),
        ("mlp.gate.", Part::Router),
        ("mlp/gate/", Part::Router),
        ("expert", Part::Experts),
        ("cos_cache", Part::Tables),
        ("sin_cache", Part::Tables),
        ("rope", Part::Tables),
        ("rotary", Part::Tables),
        ("inv_freq", Part::Tables),
        ("lm_head", Part::Head),
        ("embed_out", Part::Head),
        ("embed_tokens", Part::Embedding),
        ("word_embed", Part::Embedding),
        ("tok_embed", Part::Embedding),
        ("wte", Part::Embedding),
        ("wpe", Part::Positions),
        ("position_embed", Part::Positions),
        ("embed_positions", Part::Positions),
        ("layernorm", Part::Norms),
        ("layer_norm", Part::Norms),
        ("rmsnorm", Part::Norms),
        ("norm.", Part::Norms),
        ("_norm", Part::Norms),
        ("ln_", Part::Norms),
        ("attn", Part::Attention),
        ("attention", Part::Attention),
        ("qkv", Part::Attention),
        ("q_proj", Part::Attention),
        ("k_proj", Part::Attention),
        ("v_proj", Part::Attention),
        ("o_proj", Part::Attention),
        ("out_proj", Part::Attention),
        ("mlp", Part::Ffn),
        ("ffn", Part::Ffn),
        ("feed_forward", Part::Ffn),
        ("gate_proj", Part::Ffn),
        ("up_proj", Part::Ffn),
        ("down_proj", Part::Ffn),
        ("gate_up", Part::Ffn),
        ("fc1", Part::Ffn),
        ("fc2", Part::Ffn),
        ("c_fc", Part::Ffn),
        ("/head/", Part::Head),
        ("embedding", Part::Embedding),
    ];
    let name = name.to_lowercase();
    WORDS
        .iter()
        .find(|(word, _)| name.contains(word))
        .map(|(_, part)| *part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_usual_exporters_tell_their_part() {
        let table = [
            ("model.layers.3.self_attn.q_proj.weight", Part::Attention),
            ("/model/layers.0/attn/qkv_proj/MatMul", Part::Attention),
            ("transformer.h.0.mlp.c_proj.weight", Part::Ffn),
            ("model.layers.0.mlp.gate_proj.weight", Part::Ffn),
            ("model.layers.0.mlp.gate.weight", Part::Router),
            ("model.layers.0.mlp.experts.7.up_proj.weight", Part::Experts),
            ("model.layers.0.mlp.shared_expert.up_proj.weight", Part::Ffn),
            (
                "model.layers.0.post_attention_layernorm.weight",
                Part::Norms,
            ),
            ("model.embed_tokens.weight", Part::Embedding),
            ("transformer.wpe.weight", Part::Positions),
            ("lm_head.MatMul.weight_Q4", Part::Head),
            ("cos_cache", Part::Tables),
        ];
        for (name, part) in table {
            assert_eq!(by_name(name), Some(part), "{name}");
        }
        assert_eq!(by_name("onnx::MatMul_1234"), None);
    }
}
