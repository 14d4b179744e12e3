#!/bin/bash -eu
# Puts each target, its seeds and its dictionary where ClusterFuzzLite looks for them.
cd "$SRC/kippu"
cargo fuzz build -O --debug-assertions
for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    cp "fuzz/target/x86_64-unknown-linux-gnu/release/$target" "$OUT/"
    zip -jqr "$OUT/${target}_seed_corpus.zip" "fuzz/seeds/$target"
    cp fuzz/json.dict "$OUT/$target.dict"
    printf '[libfuzzer]\nmax_len = 2048\n' >"$OUT/$target.options"
done
