/** What tests ask a machine in the course of its life, and how they read the answers. */
import { expect, type TestContext } from "vitest";
import { objectPath, toHex } from "../../src/formats/digest.ts";
import { fsverityDigest } from "../../src/formats/fsverity.ts";
import type { HostStatus } from "../../src/model/host-status.ts";
import type { TarFile } from "../../test/oci/fixtures/images.ts";
import { hashBytes } from "../../userspace/hash.ts";
import type { newMachine } from "./machine.ts";
import type { Booted } from "./qemu.ts";

export type LivingMachine = Awaited<ReturnType<typeof newMachine>>;

export const STATUS = "cfsboot status --json";

export const ROOT = "findmnt -no SOURCE,OPTIONS /";

/** Which release of the image runs. */
export const RELEASE = "cat /usr/share/release";
export const release = (number: string): TarFile => ({
  path: "usr/share/release",
  data: `${number}\n`,
});

/** Kernel arguments of an image. */
export const kargs = (...list: string[]): TarFile[] => [
  { path: "usr/lib/bootc/" },
  { path: "usr/lib/bootc/kargs.d/" },
  { path: "usr/lib/bootc/kargs.d/10-life.toml", data: `kargs = ${JSON.stringify(list)}\n` },
];

/** What has gone wrong in this boot, and when the last one ended; nothing if all is well. */
export const FAILED = [
  "systemctl --failed --plain --no-legend",
  "! journalctl --boot --quiet --priority=warning --unit='cfsboot*' | grep .",
].join(" && ");
export const SHUTDOWN =
  "journalctl --boot=-1 --quiet --output=cat --priority=warning --unit=cfsboot-finalize-staged";

/** Waits until the boot has been judged, and then tells the names in the boot menu's directory; fails if it never is. */
export const judged = ({ entries }: LivingMachine) =>
  `timeout 120 sh -c 'until systemctl show -P ActiveState cfsboot-boot-complete | grep -qE "^(active|failed)"; do sleep 1; done' && ls ${entries}`;

/** A command that may write below `/sysroot`, as an administrator who knows how. */
export const onPhysicalRoot = (command: string) =>
  `unshare --mount sh -ec 'mount -o remount,bind,rw /sysroot; ${command}'`;

export function statusOf(booted: Booted, name = "status"): HostStatus {
  const { status, output } = booted.answers[name]!;
  expect(status, `${name}: ${output}`).toBe(0);
  return JSON.parse(output) as HostStatus;
}

/** What has become of the update, as `status` tells it. */
export const slots = (status: HostStatus) =>
  status.cfsboot.deployments.map(({ slot }) => slot).join(" ");

export function expectDone(booted: Booted, ...names: string[]): void {
  for (const name of names) {
    const { status, output } = booted.answers[name]!;
    expect(status, `${name}: ${output}`).toBe(0);
  }
}

export function expectRefused(booted: Booted, name: string, why: RegExp): void {
  const { status, output } = booted.answers[name]!;
  expect(status, `${name}: ${output}`).toBe(1);
  expect(output).toMatch(why);
}

/** Where the repository keeps this content. */
export const objectOf = (content: Uint8Array) =>
  `/sysroot/composefs/objects/${objectPath(toHex(fsverityDigest("sha512", hashBytes.sha512, content)))}`;

export function needRoot(context: TestContext): void {
  if (process.geteuid?.() !== 0) context.skip("not root: the owners in /etc cannot be made");
}

export function needTime(context: TestContext): void {
  if (process.env.CFSBOOT_ALL_TESTS === undefined) context.skip("takes long: npm run test:vm");
}
