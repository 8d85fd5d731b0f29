import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseReference } from "../../userspace/oci/reference.ts";

const digest = `sha256:${"0123456789abcdef".repeat(4)}`;

describe("registry references", () => {
  test.each([
    ["debian", "docker.io", "library/debian", "latest", undefined],
    ["debian:13", "docker.io", "library/debian", "13", undefined],
    ["user/app", "docker.io", "user/app", "latest", undefined],
    ["docker.io/debian", "docker.io", "library/debian", "latest", undefined],
    ["index.docker.io/debian:x", "docker.io", "library/debian", "x", undefined],
    ["quay.io/fedora/fedora-bootc:42", "quay.io", "fedora/fedora-bootc", "42", undefined],
    ["localhost/a", "localhost", "a", "latest", undefined],
    ["localhost:5000/a__b/c.d-e:T_1.2-3", "localhost:5000", "a__b/c.d-e", "T_1.2-3", undefined],
    ["[::1]:5000/a", "[::1]:5000", "a", "latest", undefined],
    ["HOST/a", "HOST", "a", "latest", undefined],
    [`quay.io/a/b@${digest}`, "quay.io", "a/b", undefined, digest],
    [`quay.io/a/b:tag@${digest}`, "quay.io", "a/b", "tag", digest],
    // no slash: what follows the colon is a tag
    ["localhost:5000", "docker.io", "library/localhost", "5000", undefined],
  ])("%s", (text, registry, repository, tag, expectedDigest) => {
    expect(parseReference(`docker://${text}`)).toEqual({
      transport: "docker",
      source: `docker://${text}`,
      registry,
      repository,
      tag,
      digest: expectedDigest,
    });
  });

  test.each([
    ["", "expected the name of an image"],
    ["[::1/a", "expected HOST or HOST:PORT"],
    ["[1:2:3]/a", "expected HOST or HOST:PORT"],
    ["quay.io/", "expected the name of an image"],
    ["quay.io/Upper", "expected lower-case"],
    ["quay.io/a//b", "expected lower-case"],
    ["quay.io/a/../b", "expected lower-case"],
    ["quay.io/a___b", "expected lower-case"],
    ["quay.io/a:", "tag"],
    ["quay.io/a:-x", "tag"],
    [`quay.io/a:${"x".repeat(129)}`, "1 to 128"],
    ["quay.io:99999/a", "expected HOST or HOST:PORT"],
    ["quay.io:0/a", "expected HOST or HOST:PORT"],
    ["-bad.io/a", "expected HOST or HOST:PORT"],
    ["user:pass@quay.io/a", "digest"],
    ["quay.io/a@sha256:abc", "64 lower-case hex digits"],
    [`quay.io/a@${digest.toUpperCase()}`, "64 lower-case hex digits"],
    [`quay.io/${"a".repeat(250)}`, "at most 255"],
    ["quay.io/a b", "expected lower-case"],
  ])("refused: %s", (text, why) => {
    let error: unknown;
    try {
      parseReference(`docker://${text}`);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(Error);
    const { message, cause } = error as Error;
    expect(message).toContain(JSON.stringify(`docker://${text}`));
    expect((cause as Error).message).toContain(why);
  });
});

describe("layout references", () => {
  test.each([
    ["oci:dir", "dir", undefined],
    ["oci:/var/lib/x:1.0", "/var/lib/x", "1.0"],
    ["oci:./with:colon/x", "./with:colon/x", undefined],
    ["oci:./with:colon/x:tag", "./with:colon/x", "tag"],
    ["oci:a:b:c", "a:b", "c"],
  ])("%s", (source, directory, tag) => {
    expect(parseReference(source)).toEqual({ transport: "oci", source, directory, tag });
  });

  test.each(["oci:", "oci::tag", "oci:dir:"])("refused: %s", (source) => {
    expect(() => parseReference(source)).toThrow(source);
  });
});

describe("archives, directories, and what is somebody else's", () => {
  const archive = { transport: "docker-archive", file: "x.tar", name: undefined, index: undefined };
  test.each([
    ["oci-archive:x.tar", { transport: "oci-archive", file: "x.tar", tag: undefined }],
    // podman writes whole names as tags
    [
      "oci-archive:/a/x.tar:docker.io/library/debian:13",
      { transport: "oci-archive", file: "/a/x.tar", tag: "docker.io/library/debian:13" },
    ],
    ["docker-archive:x.tar", archive],
    ["docker-archive:x.tar:debian", { ...archive, name: "docker.io/library/debian:latest" }],
    ["docker-archive:x.tar:quay.io/a/b:c", { ...archive, name: "quay.io/a/b:c" }],
    ["docker-archive:x.tar:@12", { ...archive, index: 12 }],
    ["dir:/a:b", { transport: "dir", directory: "/a:b" }],
    ["docker-daemon:debian:13", { transport: "docker-daemon" }],
  ])("%s", (source, expected) => {
    expect(parseReference(source)).toEqual({ source, ...expected });
  });

  test.each([
    "oci-archive:",
    "oci-archive:x:",
    "docker-archive::debian",
    "docker-archive:x:@",
    "docker-archive:x:@-1",
    "docker-archive:x:Upper",
    `docker-archive:x:debian@${digest}`,
    "dir:",
    "containers-storage:",
    "containers-storage:[overlay@/x]",
    "containers-storage:[overlay@/x",
    "containers-storage:[]debian",
    "containers-storage:[@/x]debian",
    "containers-storage:[overlay@x]debian",
    "containers-storage:[overlay@/x+y]debian",
    "containers-storage:debian@",
    "containers-storage:debian@xyz",
    "containers-storage:Debian",
    "docker:debian",
  ])("refused: %s", (source) => {
    expect(() => parseReference(source)).toThrow(source);
  });
});

describe("containers-storage", () => {
  const digest = `sha256:${"1".repeat(64)}`;
  const id = "2".repeat(64);
  const nothing = { store: undefined, location: undefined, id: undefined, maybeId: undefined };
  const debian = { registry: "docker.io", repository: "library/debian", digest: undefined };
  const latest = { ...debian, tag: "latest" };
  const store = { driver: "overlay", graphRoot: "/x", options: [] };
  test.each([
    ["debian", { location: latest }],
    ["abc", { location: { ...latest, repository: "library/abc" }, maybeId: "abc" }],
    ["ab", { location: { ...latest, repository: "library/ab" } }],
    ["abc:1", { location: { ...debian, repository: "library/abc", tag: "1" } }],
    [id, { id }],
    [`@${id}`, { id }],
    ["debian@abc", { location: latest, id: "abc" }],
    [`debian:13@${id}`, { location: { ...debian, tag: "13" }, id }],
    [`debian@${digest}`, { location: { ...debian, tag: undefined, digest } }],
    [`debian:13@${digest}`, { location: { ...debian, tag: "13", digest } }],
    [`debian@${digest}@${id}`, { location: { ...debian, tag: undefined, digest }, id }],
    ["[/x]debian", { location: latest, store: { ...store, driver: undefined } }],
    ["[overlay@/x]debian", { location: latest, store }],
    ["[overlay@/x+/y]debian", { location: latest, store }],
    [
      "[overlay@/x:a=b,c=d:e]debian",
      { location: latest, store: { ...store, options: ["a=b", "c=d:e"] } },
    ],
    ["[overlay@/x+/y:a=b]@abc", { id: "abc", store: { ...store, options: ["a=b"] } }],
  ])("%s", (rest, expected) => {
    const source = `containers-storage:${rest}`;
    const transport = "containers-storage";
    expect(parseReference(source)).toEqual({ source, transport, ...nothing, ...expected });
  });
});

test("another transport, or none, is refused with those there are", () => {
  for (const text of ["ostree:x", "constructor:x", "debian", "", ":"])
    expect(() => parseReference(text)).toThrow(
      /^image reference ".*": expected docker:\/\/HOST.*oci-archive:FILE/,
    );
});

test("whatever is accepted makes a URL of the host that it names", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary-ascii", maxLength: 40 }), (text) => {
      let reference: ReturnType<typeof parseReference>;
      try {
        reference = parseReference(`docker://${text}`);
      } catch {
        return;
      }
      if (reference.transport !== "docker") throw new Error("not a registry");
      const url = new URL(
        `http://${reference.registry}/v2/${reference.repository}/manifests/${reference.digest ?? reference.tag}`,
      );
      expect(url.pathname).toBe(
        `/v2/${reference.repository}/manifests/${reference.digest ?? reference.tag}`,
      );
      expect(url.username + url.search + url.hash).toBe("");
    }),
    { numRuns: 3000 },
  );
});
