/** `--json` of an installation. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { ReportDocument } from "../../userspace/cli/report.ts";
import { spawn } from "../cli/on-machine.ts";
import { publishIn } from "../cli/publish.ts";

const directory = mkdtempSync(join(tmpdir(), "cfsboot-install-"));
afterAll(() => rmSync(directory, { recursive: true }));
const disk = join(directory, "disk.raw");

function install(...args: string[]): ReportDocument {
  const sizes = ["--size", "1G", "--esp-size", "100M"];
  const target = ["--target-imgref", "example.org/os:13", "--bootloader", "none", "--json", disk];
  const outcome = spawn("install", "to-disk", ...sizes, ...args, ...target);
  expect(outcome, outcome.stderr).toMatchObject({ status: 0 });
  expect(outcome.stdout).toMatch(/^\{.*\}\n$/);
  return JSON.parse(outcome.stdout) as ReportDocument;
}

test("to-disk tells what is made of a disk, before and after it is", { timeout: 180_000 }, () => {
  const source = ["--source-imgref", `oci:${publishIn(directory, { version: "13" })}`];
  const would = install(...source, "--karg", "nosmt", "--dry-run");
  expect(readdirSync(directory)).toEqual(["published"]);
  expect(would).toEqual({
    ...{ version: 1, dryRun: true, changed: true, rebootRequired: null },
    steps: [
      {
        ...{ do: "partition", path: disk, size: 2 ** 30, growsLater: true },
        partitions: [
          { name: "EFI-SYSTEM", size: 100 * 2 ** 20, fileSystem: "vfat" },
          { name: "root", size: expect.any(Number), fileSystem: "ext4" },
        ],
      },
      {
        ...{ do: "install", id: null, path: disk, follows: "docker://example.org/os:13" },
        ...{ kargs: expect.arrayContaining(["rw", "nosmt"]), verity: "at-first-boot" },
        ...{ resumed: false, separateVar: null },
      },
    ],
    deployments: [
      {
        ...{ id: null, slot: "other" },
        image: {
          image: { image: "example.org/os:13", transport: "registry" },
          imageDigest: expect.stringMatching(/^sha256:/),
          ...{ version: null, timestamp: null, architecture: expect.any(String) },
        },
      },
    ],
  });
  const did = install(...source, "--karg", "nosmt", "--quiet");
  const { id } = did.deployments[0]!;
  expect(id).toMatch(/^[0-9a-f]{64,128}$/);
  expect(did).toMatchObject({
    ...{ dryRun: false, changed: true },
    steps: [{ do: "partition" }, { do: "install", id, verity: "at-first-boot" }],
  });
  expect(readdirSync(directory)).toContain("disk.raw");
});
