/** An installation to a file that is interrupted, or was killed, leaves nothing. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { spawn as runCfsboot } from "../cli/on-machine.ts";
import { osLayer } from "../deployment/machine.ts";
import { image, tar, writeLayout } from "../oci/fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

let directory: string;
let layout: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cfsboot-interrupted-"));
  layout = mkdtempSync(join(tmpdir(), "cfsboot-layout-"));
  const os = osLayer({ version: "13" });
  const much = tar([{ path: "usr/much", data: randomBytes(40_000_000) }]);
  const layers = [os, much].map((one) => ({ tar: one, compression: "none" as const }));
  writeLayout(layout, [{ image: image(layers), tag: "os" }]);
});
afterEach(() => {
  for (const one of [directory, layout]) rmSync(one, { recursive: true });
});

const args = (...more: string[]) => [
  ...["install", "to-disk", "--source-imgref", `oci:${layout}:os`, "--bootloader", "none"],
  ...["--size", "1G", "--esp-size", "100M", ...more, join(directory, "disk.raw")],
];

test.for([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)(
  "by %s: what was made is removed, and the exit status says why",
  {
    timeout: 60_000,
  },
  async ([signal, expected]) => {
    const child = spawn(process.execPath, [CFSBOOT, ...args()], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (!said.includes("fetch the image") && `${said}${text}`.includes("fetch the image")) {
        child.kill(signal);
      }
      said += text;
    });
    const [status] = await once(child, "close");
    expect({ status, said }).toEqual({
      status: expected,
      said: `fetch the image\ncfsboot: error: install oci:${layout}:os: interrupted by ${signal}\n`,
    });
    expect(readdirSync(directory)).toEqual([]);
  },
);

test("what one that was killed has left goes with the next one", { timeout: 60_000 }, () => {
  const left = join(directory, ".cfsboot-install-killed");
  mkdirSync(join(left, "root"), { recursive: true, mode: 0o700 });
  writeFileSync(join(left, "root/much"), "");
  const hours = new Date(Date.now() - 7_200_000);
  utimesSync(left, hours, hours);
  const { status, stderr } = runCfsboot(...args());
  expect({ status, stderr }).toMatchObject({ status: 0 });
  expect(readdirSync(directory)).toEqual(["disk.raw"]);
});
