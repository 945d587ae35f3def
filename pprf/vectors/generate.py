#!/usr/bin/env python3
"""Known answers for the pprf crate, from a plain implementation that shares no code with it.

    python3 generate.py > pprf.json

Uses only hashlib and hmac of the standard library. Everything is derived from counters: the output never changes.
"""

import hashlib
import hmac
import json

HASHES = {"SHA-256": hashlib.sha256, "SHA-384": hashlib.sha384, "SHA-512": hashlib.sha512}


def stream(label, length):
    out = b""
    while len(out) < length:
        out += hashlib.sha256(f"pprf vectors {label} {len(out)}".encode()).digest()
    return out[:length]


def expand_label_info(length, label, context):
    """The info of RFC 9420's ExpandWithLabel (section 8); both strings are shorter than 64 bytes."""
    label = b"MLS 1.0 " + label
    return length.to_bytes(2, "big") + bytes([len(label)]) + label + bytes([len(context)]) + context


def hkdf_expand(hash_name, key, info, length):
    """RFC 5869 2.3."""
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(key, block + info + bytes([counter]), HASHES[hash_name]).digest()
        out += block
        counter += 1
    return out[:length]


def value(case, bits):
    """The node at a path, from the root down."""
    node = bytes.fromhex(case["root"])
    for bit in bits:
        info = bytes.fromhex(case["right_info"] if bit == "1" else case["left_info"])
        node = hkdf_expand(case["hash"], node, info, len(node))
    return node


def to_bytes(bits):
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big") if bits else b""


def state(case, punctured):
    """The encoding: header, inputs, and the maximal subtrees without a punctured leaf from left to right."""
    depth, size = case["depth"], len(case["root"]) // 2
    out = bytes([1, size]) + depth.to_bytes(2, "big") + len(punctured).to_bytes(4, "big")
    out += b"".join(to_bytes(x) for x in sorted(punctured))

    # Iterative: the trees are deeper than some interpreters recurse.
    nodes, todo = [], [("", bytes.fromhex(case["root"]), sorted(punctured))]
    while todo:
        path, node, below = todo.pop()
        if not below:
            nodes.append(node)
        elif len(path) < depth:
            children = []
            for bit, info in (("0", "left_info"), ("1", "right_info")):
                child = hkdf_expand(case["hash"], node, bytes.fromhex(case[info]), size)
                children.append((path + bit, child, [x for x in below if x.startswith(path + bit)]))
            todo += reversed(children)
    return out + b"".join(nodes)


def make_case(hash_name, depth, inputs, punctures):
    size = HASHES[hash_name]().digest_size
    name = f"{hash_name} {depth}"
    case = {
        "hash": hash_name,
        "depth": depth,
        "left_info": expand_label_info(size, b"tree", b"left").hex(),
        "right_info": expand_label_info(size, b"tree", b"right").hex(),
        "root": stream(name + " root", size).hex(),
    }
    xs = []
    for i in range(inputs):
        bits = "".join(f"{b:08b}" for b in stream(f"{name} input {i}", 64))[:depth]
        if i % 3 == 2:  # shares all but its last bits with the one before
            bits = xs[-1][:-3] + bits[:3] if depth > 3 else bits
        if bits not in xs:
            xs.append(bits)
    case["values"] = [{"x": to_bytes(x).hex(), "value": value(case, x).hex()} for x in xs]
    case["steps"], done = [], []
    for x in [None] + xs[:punctures]:
        if x is not None:
            done.append(x)
        encoded = state(case, done)
        step = {"puncture": None if x is None else to_bytes(x).hex(), "length": len(encoded),
                "sha256": hashlib.sha256(encoded).hexdigest()}
        if len(encoded) <= 700:
            step["state"] = encoded.hex()
        case["steps"].append(step)
    return case


def main():
    cases = []
    for hash_name, maker in HASHES.items():
        full = 8 * maker().digest_size
        for depth in (0, 1, 3, 8, 9, 20, 64, 65):
            cases.append(make_case(hash_name, depth, 6, 5))
        cases.append(make_case(hash_name, full, 6, 4))
    print(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
