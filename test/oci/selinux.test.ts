/** Images that hold an SELinux policy, from their layers to the labels in the bootable tree. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { formatDumpfile } from "../../src/formats/dumpfile-writer.ts";
import { describeError } from "../../userspace/cli/errors.ts";
import { imageTree } from "../../userspace/oci/commit.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { LayerImport } from "../../userspace/oci/layer.ts";
import { writeConfigStream, writeManifestStream } from "../../userspace/oci/streams.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { image, type TarFile, tar } from "./fixtures/images.ts";

let scratch: string;
let repository: Repository;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "selinux-"));
  initRepository(join(scratch, "repo"), { hash: "sha256", format: 1, insecure: true });
  repository = openRepository(join(scratch, "repo"));
});
afterEach(() => {
  repository.close();
  rmSync(scratch, { recursive: true });
});

const FILES = "etc/selinux/targeted/contexts/files/";
const directories = [
  "usr/",
  "usr/bin/",
  "boot/",
  "sysroot/",
  "home/",
  "etc/",
  "etc/selinux/",
].concat(["etc/selinux/targeted/", "etc/selinux/targeted/contexts/", FILES]);

/** The tree of an image of one layer with a policy. */
function bootableTree(contexts: string, files: readonly TarFile[], bootable = true) {
  const bytes = tar([
    ...directories.map((path) => ({ path, mtime: 0 })),
    { path: "etc/selinux/config", data: "SELINUX=enforcing\nSELINUXTYPE=targeted\n", mtime: 0 },
    { path: `${FILES}file_contexts`, data: contexts, mtime: 0 },
    { path: `${FILES}file_contexts.subs_dist`, data: "/srv /home\n", mtime: 0 },
    ...files,
  ]);
  const { layers, diffIds, config, manifest } = image([{ tar: bytes, compression: "none" }]);
  const target = new LayerImport(repository, diffIds[0]!);
  target.write(layers[0]!.bytes);
  const stored = [[diffIds[0]!, target.finish()]] as const;
  const stream = writeConfigStream(repository, config.digest, config.bytes, stored);
  const named = { digest: config.digest, stream };
  writeManifestStream(repository, manifest.digest, manifest.bytes, named, stored);
  return imageTree(repository, openImage(repository, `@${manifest.digest}`), { bootable });
}

/** Longer than what is kept in the tree itself: an object. */
const CONTEXTS = `# ${"a long comment ".repeat(20)}
/.*          system_u:object_r:default_t:s0
/usr(/.*)?   system_u:object_r:usr_t:s0
/usr/bin/.*  --  system_u:object_r:bin_t:s0
/home/.*     system_u:object_r:home_t:s0
/boot(/.*)?  <<none>>
`;

test("labels come from the policy that is in the layers, when the tree is made to boot", () => {
  const files = [
    { path: "usr/bin/sh", data: "x".repeat(100), mtime: 0 },
    { path: "usr/share", type: "1", link: "usr/bin/sh" },
    { path: "srv/", mtime: 0 },
    { path: "srv/f", mtime: 0 },
  ] as const;
  const lines = formatDumpfile(bootableTree(CONTEXTS, files)).split("\n");
  const labels = Object.fromEntries(
    lines.map((line) => [line.split(" ")[0], /security\.selinux=\S*:(\w+):s0$/.exec(line)?.[1]]),
  );
  expect(labels).toMatchObject({
    "/": "default_t",
    "/usr": "usr_t",
    "/usr/bin": "usr_t",
    "/usr/bin/sh": "bin_t",
    "/usr/share": "usr_t",
    "/boot": undefined,
    "/srv": "default_t",
    "/srv/f": "home_t",
  });
  // Two inodes now, of the same object.
  const parted = lines.filter(
    (line) => line.startsWith("/usr/bin/sh ") || line.startsWith("/usr/share "),
  );
  expect(parted.map((line) => line.split(" ")[3])).toEqual(["1", "1"]);
  expect(new Set(parted.map((line) => line.split(" ")[8])).size).toBe(1);

  expect(formatDumpfile(bootableTree(CONTEXTS, files, false))).not.toContain("security.selinux");
});

test("a policy that is wrong is told with its image, its file, line and pattern", () => {
  let message = "";
  try {
    bootableTree(`${CONTEXTS}/usr/[a  system_u:object_r:bin_t:s0\n`, []);
  } catch (error) {
    ({ message } = describeError(error));
  }
  expect(message).toMatch(
    /^image @sha256:\w+: \/etc\/selinux\/targeted\/contexts\/files\/file_contexts:7: pattern "\/usr\/\[a": unclosed class at offset 5$/,
  );
});
