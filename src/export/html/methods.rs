//! How each figure of the page is obtained, in words: one click away from its heading or column, and listed at the end.

use maud::{Markup, html};

/// How a figure is obtained.
#[derive(Debug, PartialEq)]
pub struct Method {
    /// Its name on the page.
    pub id: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// How it is obtained.
    pub text: &'static str,
    /// Columns that show it.
    keys: &'static [&'static str],
}

/// Every method, in the order of the list.
pub const METHODS: &[Method] = &[
    Method {
        id: "trial",
        title: "Trial",
        text: "Each row is one trial in a process of its own: memory readings start cold, and a crash or an exhausted memory costs that row alone. A row that did not end ok shows its status and reason; figures that it did not get to stay empty and say why.",
        keys: &["status"],
    },
    Method {
        id: "words",
        title: "Verdict in words",
        text: "Computed from the rows when the result was written, and shown as it stands there. It names what ran inside each budget, the fastest and the smallest of them, and holds dense against MoE models at about equal total and at about equal active parameters.",
        keys: &[],
    },
    Method {
        id: "params",
        title: "Parameters, total and active",
        text: "Counted from the model's shapes. Total: every stored parameter, a tied embedding once. Active: those that take part for one token, k experts instead of all.",
        keys: &["params_total", "params_active"],
    },
    Method {
        id: "load",
        title: "Load",
        text: "Time to create the session with its weights in place. One sample for each trial.",
        keys: &["load_ms"],
    },
    Method {
        id: "ttft",
        title: "TTFT, time to first token",
        text: "From handing over the prompt's ids to having the first new id on the host: prefill and the first choice. Mean of the timed repetitions ± their standard deviation (n − 1).",
        keys: &["ttft_ms_mean"],
    },
    Method {
        id: "prefill",
        title: "Prefill speed",
        text: "Batch × prompt tokens / time of the runtime's run call for the prompt. Mean of the repetitions ± standard deviation.",
        keys: &["prefill_tok_s_mean"],
    },
    Method {
        id: "decode",
        title: "Decode speed",
        text: "Batch × (generated tokens − 1) / sum of the inter-token latencies, for each repetition; the first token belongs to TTFT. Mean of the repetitions ± standard deviation.",
        keys: &["decode_tok_s_mean"],
    },
    Method {
        id: "itl",
        title: "ITL, inter-token latency",
        text: "From one new id on the host to the next, over all steps of all repetitions. p50, p90 and p99 are quantiles; p90 is given from 64 samples, p99 from 662, and is left out below that.",
        keys: &[
            "itl_ms_p50",
            "itl_ms_p90",
            "itl_ms_p99",
            "itl_ms_min",
            "itl_ms_max",
            "itl_ms_mean",
        ],
    },
    Method {
        id: "fp32",
        title: "vs fp32",
        text: "Difference of the logits of a fixed text from those of the same weights and KV cache in fp32, root mean square, as a share of the logits. The weights are random: it tells what rounding does to them, not what it does to the answers of a trained model.",
        keys: &["fp32_difference_error"],
    },
    Method {
        id: "peak",
        title: "Peak memory",
        text: "The largest use that was read from before the runtime exists to the end of the trial, at the ends of phases and between them; this is what the budget is held against. On a GPU: what the driver says this process uses. On the CPU: resident memory above that of an empty worker. The bar is the largest use from the load on, which is the sum of its parts.",
        keys: &["peak_bytes", "loaded_peak_bytes"],
    },
    Method {
        id: "parts",
        title: "Parts of the peak",
        text: "weights + KV cache + activations + runtime + unaccounted = the peak from the load on. Each part is read at the moments at which only it changes, or is the size of its buffers, as the result's own method says. Runtime: libraries, the CUDA context, kernels, captured graphs.",
        keys: &[
            "weights_bytes",
            "kv_bytes",
            "activations_bytes",
            "runtime_bytes",
        ],
    },
    Method {
        id: "unaccounted",
        title: "Unaccounted",
        text: "The peak from the load on less all known parts. It is what came later or for a moment only, and may be negative where buffers are not wholly resident.",
        keys: &["unaccounted_bytes"],
    },
    Method {
        id: "budget",
        title: "Budget",
        text: "The memory that a trial may use. Hard: it could not take more, because the rest of the device was taken away or the runtime refused. Soft: its use was watched and held against the budget.",
        keys: &["budget_bytes", "enforced"],
    },
    Method {
        id: "steady",
        title: "Steady",
        text: "Use at the end of the trial.",
        keys: &["steady_bytes"],
    },
    Method {
        id: "predicted",
        title: "Predicted peak",
        text: "An estimate from the model's shapes, made before the trial; what is predicted not to fit is not started unless asked for.",
        keys: &["predicted_peak_bytes", "predicted"],
    },
    Method {
        id: "frontier",
        title: "Pareto frontier",
        text: "The rows that no other row of the same result beats: none decodes at least as fast in at most as much memory, with one of the two better.",
        keys: &[],
    },
    Method {
        id: "limit",
        title: "Share of the hardware's limit",
        text: "The least time that a step could take on this device, over the time it took. Decode: bytes of weights and KV cache that a step reads, at the measured memory bandwidth. Prefill: floating point operations of the prompt, at the measured speed of a large matrix product. The work is counted by shape, the rates were measured before the trials. Above 100 % only where caches take the place of memory.",
        keys: &[
            "decode_limit_share",
            "prefill_limit_share",
            "decode_floor_ms",
            "step_bytes",
        ],
    },
    Method {
        id: "bound",
        title: "Held by",
        text: "What explains at least half of the time: bandwidth, compute, or launching the kernels one after the other. Cache where what a step reads fits the caches; else kernels: the runtime's kernels reach no limit of the device.",
        keys: &["decode_bound", "prefill_bound"],
    },
    Method {
        id: "energy",
        title: "Energy and power",
        text: "From the start of the first timed prefill to the end of the last timed decode, for each generated token of each sequence with its share of the prompt. From the device's energy counter where there is one; the result says whose energy it is: the GPU's, the CPU's or the board's.",
        keys: &["energy_j_per_token", "mean_watts"],
    },
    Method {
        id: "cost",
        title: "Cost of a million generated tokens",
        text: "Cost of an hour / tokens decoded in an hour × 1,000,000. The hour costs the hardware's price spread over its life and, where the power is known, its energy; or a flat price.",
        keys: &["cost_per_million_tokens"],
    },
    Method {
        id: "ceiling",
        title: "Ceilings",
        text: "Context: the longest prompt and text of one sequence, in tokens. Batch: the most sequences at the given lengths. The largest size that ran inside the budget and the smallest that did not, each in a worker of its own with one prompt and a few decode steps and nothing warmed up. Limited by positions: all that the model has.",
        keys: &["fits", "fails", "limited_by"],
    },
    Method {
        id: "positions",
        title: "Latency over position",
        text: "The inter-token latencies of all timed repetitions, put together by the length of the context that a step reads: prompt, generated tokens and the one it is fed. Up to 32 buckets of neighbouring lengths without a gap; of each the median and the quartiles. The times are those of ITL; nothing is measured beside them.",
        keys: &[
            "position_median_ms",
            "position_p25_ms",
            "position_p75_ms",
            "position_tokens",
            "first_context",
            "last_context",
        ],
    },
    Method {
        id: "curve",
        title: "Speed over the budget",
        text: "A point for each budget in which the model ran: the mean decode speed of that trial. Lines join neighbouring budgets and say nothing of those between them. Who passes whom is told by budgets in which both ran.",
        keys: &[],
    },
    Method {
        id: "offload",
        title: "Weights in main memory",
        text: "By the sizes of the weight tensors and the plan that was carried out: those on the GPU, and those that stayed in pinned main memory and are read by the GPU over the link.",
        keys: &["resident_bytes", "mapped_bytes", "asked"],
    },
    Method {
        id: "link",
        title: "Share of the link",
        text: "Bytes that a step reads over the link, by shape (experts as a router without preferences chooses them), at the rate of a pinned copy that was measured before the trials, over the median time of a step; for the prompt over the median time to the first token.",
        keys: &[
            "link_bytes_per_step",
            "step_link_share",
            "prompt_link_share",
        ],
    },
    Method {
        id: "predicted_speed",
        title: "Predicted speed",
        text: "Made before the trial: bytes on the GPU at the share of its measured bandwidth that matrix products reach, bytes over the link at the share of its measured rate that reading in place or copying reaches, and a time for each kernel; one token of each sequence over the sum.",
        keys: &["predicted_decode_tok_s", "measured_over_predicted"],
    },
    Method {
        id: "pairs",
        title: "Pairs of the study",
        text: "Models of one vocabulary that are equal within 2 % in total or in active parameters, in the same setting. Mixture over dense with a 95 % bootstrap interval over the runs where the suite ran several times, else over the repetitions of one run. No difference: the interval holds 1, or the ratio is within 1 % of it.",
        keys: &["basis"],
    },
    Method {
        id: "published",
        title: "Published, its way, properly",
        text: "Published: as the study printed it, on its machine. Its way: measured here by its method, without a KV cache, with the time of all tokens called that of the first and memory counted by live tensors. Properly: this result's own row. The list below each table says what each flaw does to the figure.",
        keys: &["published", "reproduced", "measured", "its_ratio"],
    },
    Method {
        id: "routers",
        title: "Routers",
        text: "A prompt is read token by token, untimed, and each router tells whom it chose. Entropy is that of the choices over the largest there can be: an even spread is 100 %. Imbalance: the choices of the fullest expert over an even share. The weights of built-in models are random; a trained router spreads otherwise.",
        keys: &[
            "experts_per_token",
            "least_share",
            "most_share",
            "entropy",
            "imbalance",
            "router_tokens",
        ],
    },
    Method {
        id: "formulas",
        title: "Price by formula",
        text: "Repaired: the cost of an hour over the tokens of an hour, as in the other tables. The other two are the published study's, computed from the decode speed to show how they differ; nothing else goes by them.",
        keys: &["repaired", "study-json", "study-hourly"],
    },
    Method {
        id: "repeat",
        title: "From run to run",
        text: "The suite ran several times, each trial in processes of its own, interleaved. Max − min over the median, standard deviation (n − 1) over the mean, and the largest distance from the median over the median, which is held against the promise.",
        keys: &[
            "range_share",
            "variation",
            "worst_deviation",
            "run_median",
            "within",
        ],
    },
    Method {
        id: "ratio",
        title: "Ratio, interval and verdict",
        text: "The other result's figure over the baseline's (A), of rows in which the same was run: model, form, precision, batch and lengths. The interval is a 95 % bootstrap interval over the repetitions of one process: run-to-run differences are not in it. No difference: the interval holds 1, or the ratio is within 1 % of it.",
        keys: &["ratio", "interval", "verdict"],
    },
];

/// The method of a column.
pub fn of(key: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.keys.contains(&key))
}

/// The method of this name.
pub fn named(id: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.id == id)
}

/// A button that tells the method.
pub fn button(method: &Method) -> Markup {
    html! {
        button.how type="button" popovertarget={ "how-" (method.id) } aria-label={ "How it is obtained: " (method.title) } { "?" }
    }
}

/// The methods of a section by name, below its heading.
pub fn ask(ids: &[&str]) -> Markup {
    html! {
        p.hows {
            "How it is obtained: "
            @for method in ids.iter().filter_map(|id| named(id)) {
                button.pill type="button" popovertarget={ "how-" (method.id) } { (method.title) }
            }
        }
    }
}

/// What the buttons open.
pub fn popovers() -> Markup {
    html! {
        @for method in METHODS {
            aside.pop id={ "how-" (method.id) } popover {
                strong { (method.title) }
                p { (method.text) }
                button type="button" popovertarget={ "how-" (method.id) } popovertargetaction="hide" { "Close" }
            }
        }
    }
}

/// All of them, one below the other.
pub fn list() -> Markup {
    html! {
        dl.methods {
            @for method in METHODS { dt { (method.title) } dd { (method.text) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_name_and_each_column_has_one_method() {
        let ids: BTreeSet<_> = METHODS.iter().map(|method| method.id).collect();
        assert_eq!(ids.len(), METHODS.len());
        let keys: Vec<_> = METHODS.iter().flat_map(|method| method.keys).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert_eq!(of("decode_tok_s_mean").unwrap().id, "decode");
        assert!(of("model").is_none() && named("frontier").is_some());
    }
}
