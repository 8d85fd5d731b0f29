import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  formatOrigin,
  formatOriginImage,
  newOrigin,
  parseOrigin,
  parseOriginImage,
  setOriginBoot,
  setOriginImage,
  setOriginKargs,
  setOriginPinned,
} from "../../src/formats/origin.ts";

const BOOT_DIGEST = "b".repeat(64);
const MANIFEST_DIGEST = `sha256:${"c".repeat(64)}`;

/** As bootc 1.16 writes it. */
const FRESH = `[origin]
container-image-reference = ostree-unverified-image:docker://quay.io/example/image:latest

[boot]
boot_type = bls
digest = ${BOOT_DIGEST}

[image]
manifest_digest = ${MANIFEST_DIGEST}
`;

const IMAGE = {
  transport: "registry",
  name: "quay.io/example/image:latest",
  signature: undefined,
} as const;

describe("reading", () => {
  test("bootc's file", () => {
    const { file, ...origin } = parseOrigin(FRESH);
    expect(file.sections.map(({ name }) => name)).toEqual(["origin", "boot", "image"]);
    expect(origin).toEqual({
      image: IMAGE,
      bootType: "bls",
      bootDigest: BOOT_DIGEST,
      manifestDigest: MANIFEST_DIGEST,
      pinned: false,
      kargs: { added: [], deleted: [] },
      problems: [],
    });
  });

  test("one of an early release: no spaces, no digests", () => {
    const origin = parseOrigin(
      "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/a/b\n; c\n[boot]\nboot_type=uki",
    );
    expect(origin.image).toEqual({ ...IMAGE, name: "quay.io/a/b" });
    expect([origin.bootType, origin.bootDigest, origin.manifestDigest]).toEqual([
      "uki",
      undefined,
      undefined,
    ]);
    expect(origin.problems).toEqual([]);
  });

  test("what is wrong is absent, and told", () => {
    const origin = parseOrigin(
      "garbage\n[origin]\ncontainer-image-reference = quay.io/a\n[boot]\nboot_type = aboot\ndigest = B\n[image]\nmanifest_digest = c\n[cfsboot]\npinned = maybe\nkargs-added = %FF\n",
    );
    expect(origin).toMatchObject({
      image: undefined,
      bootType: undefined,
      bootDigest: undefined,
      manifestDigest: undefined,
      pinned: false,
      kargs: { added: [], deleted: [] },
    });
    expect(origin.problems).toEqual([
      "line 1: expected KEY = VALUE",
      '[origin] container-image-reference: expected ostree-unverified-image:TRANSPORT:NAME, not "quay.io/a"',
      '[boot] boot_type: expected bls or uki, not "aboot"',
      '[boot] digest: expected 64 hex digits, not "B"',
      '[image] manifest_digest: expected sha256: or sha512: and hex digits, not "c"',
      '[cfsboot] pinned: expected true or false, not "maybe"',
      '[cfsboot] kargs-added: expected kernel arguments, not "%FF"',
    ]);
    expect(parseOrigin("x".repeat(2 << 20)).problems).toEqual([
      "2097152 characters, expected at most 1048576",
    ]);
  });
});

describe("writing", () => {
  test("gives bootc's bytes", () => {
    const origin = newOrigin({
      image: IMAGE,
      bootType: "bls",
      bootDigest: BOOT_DIGEST,
      manifestDigest: MANIFEST_DIGEST,
    });
    expect(formatOrigin(origin)).toBe(FRESH);
    expect(origin).toEqual(parseOrigin(FRESH));
  });

  test("keeps the sections of others, and ours come last", () => {
    const foreign = `[x]\ny = z\n\n${FRESH.replace("[boot]", "other = 1\n\n[boot]").replace("\n\nother", "\nother")}`;
    let origin = parseOrigin(foreign);
    expect(formatOrigin(origin)).toBe(foreign);
    origin = setOriginPinned(origin, true);
    origin = setOriginImage(origin, { ...IMAGE, name: "quay.io/c/d" });
    expect(formatOrigin(origin)).toBe(
      `${foreign.replace("example/image:latest", "c/d")}\n[cfsboot]\npinned = true\n`,
    );
    expect(origin.pinned).toBe(true);
    const back = setOriginImage(setOriginPinned(origin, false), IMAGE);
    expect(formatOrigin(back)).toBe(foreign);
  });

  test("a digest that was missing", () => {
    const old = parseOrigin(FRESH.replace(`digest = ${BOOT_DIGEST}\n`, ""));
    const origin = setOriginBoot(old, undefined, BOOT_DIGEST, undefined);
    expect(formatOrigin(origin)).toBe(FRESH);
  });
});

describe("image references", () => {
  const cases = [
    ["ostree-unverified-image:docker://quay.io/a/b:c", "registry", "quay.io/a/b:c", undefined],
    ["ostree-unverified-image:oci:/var/tmp/x:y", "oci", "/var/tmp/x:y", undefined],
    [
      "ostree-unverified-image:containers-storage:localhost/bootc",
      "containers-storage",
      "localhost/bootc",
      undefined,
    ],
    ["ostree-image-signed:docker://quay.io/a", "registry", "quay.io/a", "containerPolicy"],
    ["ostree-remote-image:fedora:dir:/a", "dir", "/a", { ostreeRemote: "fedora" }],
  ] as const;

  test.each(cases)("%s", (text, transport, name, signature) => {
    expect(parseOriginImage(text)).toEqual({ transport, name, signature });
    expect(formatOriginImage({ transport, name, signature })).toBe(text);
  });

  test("shorter forms", () => {
    expect(parseOriginImage("ostree-unverified-registry:quay.io/a:b")).toEqual({
      ...IMAGE,
      name: "quay.io/a:b",
    });
    expect(parseOriginImage("ostree-remote-registry:fedora:quay.io/a")).toEqual({
      ...IMAGE,
      name: "quay.io/a",
      signature: { ostreeRemote: "fedora" },
    });
    expect(parseOriginImage("ostree-unverified-image:registry:quay.io/a")).toEqual({
      ...IMAGE,
      name: "quay.io/a",
    });
  });

  test.each([
    ["quay.io/a", "expected ostree-unverified-image:TRANSPORT:NAME"],
    ["docker://quay.io/a", "expected ostree-unverified-image:, ostree-image-signed: or"],
    ["ostree-unverified-image:quay.io/a", "expected a transport and a name"],
    ["ostree-unverified-image:ftp:a", "expected a transport and a name"],
    ["ostree-unverified-image:docker:a", "expected // after docker:"],
    ["ostree-unverified-image:oci:", "expected a name after the transport"],
    ["ostree-remote-image:fedora", "expected : after the name of the remote"],
  ])("%s is refused", (text, why) => {
    expect(() => parseOriginImage(text)).toThrow(`"${text}": ${why}`);
  });
});

describe("local kernel arguments", () => {
  test("survive bootc's comments and the quotes they need", () => {
    const added = ['dyndbg="file a.c +p; file b.c +p"', "console=ttyS0,115200n8", "x=#%41ü"];
    const origin = setOriginKargs(parseOrigin(FRESH), { added, deleted: ["quiet"] });
    const text = formatOrigin(origin);
    expect(text).toBe(
      `${FRESH}\n[cfsboot]\nkargs-added = dyndbg="file a.c +p%3B file b.c +p" console=ttyS0,115200n8 x=%23%2541%C3%BC\nkargs-deleted = quiet\n`,
    );
    expect(parseOrigin(text).kargs).toEqual({ added, deleted: ["quiet"] });
    expect(formatOrigin(setOriginKargs(origin, { added: [], deleted: [] }))).toBe(FRESH);
  });

  test("any arguments come back", () => {
    const unit = fc.constantFrom(..."ab=;#%[]'ü\u{1f600}", "%3B", "\x01");
    const karg = fc.string({ unit, minLength: 1 });
    fc.assert(
      fc.property(fc.array(karg), fc.array(karg), (added, deleted) => {
        const text = formatOrigin(setOriginKargs(parseOrigin(FRESH), { added, deleted }));
        expect(parseOrigin(text).kargs).toEqual({ added, deleted });
      }),
    );
  });
});
