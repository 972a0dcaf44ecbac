//! Which inputs are caches, and as which outputs they come back: by their names, else by the operators between them.

use super::caches::{Dim, Value};
use super::network::{Network, integer};

/// An input that comes back as an output, longer: places among inputs and outputs, and which of its dimensions is what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Place among the inputs.
    pub input: usize,
    /// Place among the outputs.
    pub output: usize,
    /// The dimension that counts sequences, where one does.
    pub batch: Option<usize>,
    /// The dimension that counts tokens.
    pub length: usize,
}

/// Words that tell an input from the output it comes back as, and nothing else.
const TELLING: [&str; 20] = [
    "cache", "cached", "caches", "decoder", "in", "input", "kv", "new", "next", "old", "out",
    "output", "past", "pkv", "present", "prev", "previous", "self", "state", "updated",
];

/// Puts the size of a head where a graph leaves it open, as some exporters do: what is told beside the graph, or its tables of
/// rotations.
pub fn settle(network: &Network, told: Option<u64>, inputs: &mut [Value], outputs: &mut [Value]) {
    let Some(size) = told.or_else(|| by_rotations(network)) else {
        return;
    };
    for value in inputs
        .iter_mut()
        .chain(outputs)
        .filter(|value| may_hold(value))
    {
        let dims = value.dims.as_deref_mut().unwrap_or_default();
        if let [_, heads, length, last] = dims
            && [heads, &*length]
                .iter()
                .filter(|dim| !matches!(dim, Dim::Size(_)))
                .count()
                == 1
            && !matches!(last, Dim::Size(_))
        {
            *last = Dim::Size(size);
        }
    }
}

/// Twice the width of the tables, where all of a head is rotated.
fn by_rotations(network: &Network) -> Option<u64> {
    let mut nodes = network
        .nodes
        .iter()
        .filter(|node| node.op_type == "GroupQueryAttention");
    nodes.find_map(|node| {
        let partly = integer(node, "rotary_embedding_dim").is_some_and(|dim| dim > 0);
        let table = network.constant(node.input.get(7)?)?;
        (!partly)
            .then(|| table.dims.last()?.checked_mul(2))
            .flatten()
    })
}

/// Finds them.
pub fn pairs(network: &Network, inputs: &[Value], outputs: &[Value]) -> Vec<Pair> {
    let mut taken = vec![false; outputs.len()];
    let mut pairs = Vec::new();
    let may_be = |input: &Value| may_hold(input) && !input.name.contains("mask");
    for (place, input) in inputs.iter().enumerate().filter(|(_, input)| may_be(input)) {
        let free = |output: &usize| !taken[*output] && alike(input, &outputs[*output]);
        let by_name = |output: &usize| words(&outputs[*output].name) == words(&input.name);
        let all = (0..outputs.len()).filter(free).filter(by_name);
        let all: Vec<usize> = all.collect();
        let output = match all.as_slice() {
            [one] => Some(*one),
            _ => by_operator(network, input, outputs).filter(free),
        };
        let found = output.and_then(|output| paired(place, input, output));
        if let Some(pair) = found {
            taken[pair.output] = true;
            pairs.push(pair);
        }
    }
    pairs
}

/// Whether an input has the type and the number of dimensions of keys or values.
fn may_hold(value: &Value) -> bool {
    let element = value
        .element
        .is_some_and(|element| element.is_float() || element.is_narrow());
    let rank = value.dims.as_ref().map(Vec::len);
    element && matches!(rank, Some(4 | 5))
}

/// Whether an output has the type of an input, and no other size in any dimension but one.
fn alike(input: &Value, output: &Value) -> bool {
    let Some((dims, others)) = input.dims.as_ref().zip(output.dims.as_ref()) else {
        // An output of which nothing is said may be anything.
        return input.element == output.element;
    };
    let differ = |(one, other): &(&Dim, &Dim)| matches!((one, other), (Dim::Size(a), Dim::Size(b)) if a != b);
    input.element == output.element
        && dims.len() == others.len()
        && dims.iter().zip(others).filter(differ).count() <= 1
}

/// Words and numbers of a name in their order, without those that only tell past from present.
fn words(name: &str) -> Vec<String> {
    let name = name
        .to_lowercase()
        .replace("key_values", "")
        .replace("keys_values", "");
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for letter in name.chars() {
        let kind = (letter.is_alphabetic(), letter.is_numeric());
        match (kind, last == Some(kind), words.last_mut()) {
            ((false, false), ..) => {}
            (_, true, Some(word)) => word.push(letter),
            _ => words.push(letter.into()),
        }
        last = Some(kind);
    }
    words.retain(|word| !TELLING.contains(&word.as_str()));
    words
}

/// The output that an operator makes which reads this input: of several in the order of its inputs.
fn by_operator(network: &Network, input: &Value, outputs: &[Value]) -> Option<usize> {
    let place = |name: &String| outputs.iter().position(|output| output.name == *name);
    let readers = network.readers(&input.name).iter();
    let mut found = readers.filter_map(|(node, slot)| {
        let node = &network.nodes[*node];
        let made: Vec<usize> = node.output.iter().filter_map(place).collect();
        match made.as_slice() {
            [one] => Some(*one),
            // Keys before values, among inputs and outputs alike.
            [key, value] => {
                let is_second = *slot > 0 && is_past_key(&node.op_type, slot - 1);
                Some(if is_second { *value } else { *key })
            }
            _ => None,
        }
    });
    found.next()
}

/// Whether that place among an operator's inputs is past keys.
fn is_past_key(op: &str, slot: usize) -> bool {
    match op {
        "GroupQueryAttention" => slot == 3,
        "Attention" => slot == 4,
        "MultiHeadAttention" => slot == 6,
        _ => false,
    }
}

/// Which dimension of a cache is what: the first that is open counts sequences, the second tokens.
fn paired(place: usize, input: &Value, output: usize) -> Option<Pair> {
    let dims = input.dims.as_ref()?;
    let open: Vec<usize> = (0..dims.len())
        .filter(|at| !matches!(dims[*at], Dim::Size(_)))
        .collect();
    let (batch, length) = match open.as_slice() {
        [batch, length] => (Some(*batch), *length),
        // A fixed number of sequences, or a fixed length behind a free number of them.
        [length] if *length >= 2 => (None, *length),
        [batch] => (Some(*batch), dims.len() - 2),
        [] => (None, dims.len() - 2),
        _ => return None,
    };
    Some(Pair {
        input: place,
        output,
        batch,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_past_and_present_have_the_same_words() {
        let table = [
            ("past_key_values.0.key", "present.0.key"),
            ("past_key_values.11.value", "present_key_values.11.value"),
            ("past_3", "present_3"),
            ("past_key_0", "present_key_0"),
            ("key_cache_0", "key_cache_0_out"),
            ("cache_in.k2", "cache_out.k2"),
            ("past_key_values.0.decoder.key", "present.0.decoder.key"),
        ];
        for (past, present) in table {
            assert_eq!(words(past), words(present), "{past}");
        }
        assert_ne!(words("past_key_values.0.key"), words("present.0.value"));
        assert_ne!(words("past_key_values.0.key"), words("present.1.key"));
        assert_ne!(words("past_key_values.1.key"), words("present.11.key"));
    }
}
