import { resolve } from "node:path";
import { expect, test } from "vitest";
import type { Transport } from "../../src/formats/origin.ts";
import { parseTarget, sourceOf, withTag } from "../../userspace/deployment/references.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

test.each<[string, Transport | undefined, string, string]>([
  ["quay.io/x/y:1", undefined, "registry", "quay.io/x/y:1"],
  ["docker://quay.io/x/y", undefined, "registry", "quay.io/x/y"],
  [`quay.io/x/y:1@${DIGEST}`, undefined, "registry", `quay.io/x/y@${DIGEST}`],
  ["oci:/srv/x:1", undefined, "oci", "/srv/x:1"],
  ["dir/x:1", "oci", "oci", `${resolve("dir/x")}:1`],
  ["./a.tar", "oci-archive", "oci-archive", resolve("a.tar")],
  ["docker-archive:a.tar:x/y:1", undefined, "docker-archive", `${resolve("a.tar")}:x/y:1`],
  ["quay.io/x/y:1", "containers-storage", "containers-storage", "quay.io/x/y:1"],
])("%s (%s) is %s %s", (text, given, transport, name) => {
  expect(parseTarget(text, given)).toEqual({ transport, name, signature: undefined });
});

test("what is none is an error", () => {
  expect(() => parseTarget("UPPER", undefined)).toThrow("image reference");
  expect(() => parseTarget("", "oci")).toThrow("image reference");
});

test.each([
  ["quay.io/x/y:1", "docker://quay.io/x/y:2"],
  [`quay.io/x/y@${DIGEST}`, "docker://quay.io/x/y:2"],
  ["localhost:5000/x", "docker://localhost:5000/x:2"],
  ["oci:/srv/x:1", "oci:/srv/x:2"],
  ["oci-archive:/srv/x.tar", "oci-archive:/srv/x.tar:2"],
])("%s with the tag 2 is %s", (text, changed) => {
  expect(sourceOf(withTag(parseTarget(text, undefined), "2"))).toBe(changed);
});

test("not everything has tags, and not everything is one", () => {
  expect(() => withTag(parseTarget("dir:/x", undefined), "2")).toThrow("have no tags");
  expect(() => withTag(parseTarget("quay.io/x", undefined), "a b")).toThrow("image reference");
});
