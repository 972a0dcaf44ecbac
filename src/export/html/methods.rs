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
