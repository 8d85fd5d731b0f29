import { describe, expect, test } from "vitest";
import { newOrigin } from "../../src/formats/origin.ts";
import type { Machine } from "../../src/model/deployments.ts";
import { artifactName } from "../../src/model/menu-entry.ts";
import {
  decideFromDownloaded,
  decideSwitch,
  decideUpgrade,
  deploymentOf,
  followedImage,
  isUnchanged,
} from "../../src/model/upgrade-decision.ts";
import { filesOf, idOf, machineOf, menuOf } from "./machine.ts";

const os = { osId: "debian", version: "13" };
const digestOf = (number: number) => `sha256:${number.toString(16).padStart(2, "0").repeat(32)}`;
const image = (tag: number) =>
  ({ transport: "registry", name: `example.org/os:${tag}`, signature: undefined }) as const;

/** Deployments by number: their ids, the digests of their manifests and their tags go by it. */
function machine(
  running: number,
  menu: readonly number[],
  staged?: { readonly number: number; readonly locked?: boolean },
): Machine {
  const entries = (numbers: readonly number[]) =>
    menuOf(
      numbers.map((number, place) => {
        const plan = { menu: [{ id: idOf(number), entry: undefined }], dropped: [] };
        const name = `bootc_debian-13-${numbers.length - 1 - place}.conf`;
        return { ...filesOf(plan, os)[0]!, name };
      }),
      "systemd-boot",
    );
  const all = [...new Set([...menu, ...(staged === undefined ? [] : [staged.number])])];
  return machineOf(entries(menu), idOf(running), {
    ...(staged && {
      stagedMenu: entries([staged.number, ...menu.slice(0, 1)]),
      record: { id: idOf(staged.number), locked: staged.locked ?? false },
    }),
    states: all.map((number) => ({
      id: idOf(number),
      origin: newOrigin({
        image: image(number),
        bootType: "bls",
        bootDigest: "00".repeat(32),
        manifestDigest: digestOf(number),
      }),
      problems: [],
    })),
    images: new Set(all.map(idOf)),
    artifacts: new Map(all.map((number) => [artifactName(idOf(number)), true])),
  });
}

const remote = (number: number) => ({ manifestDigest: digestOf(number), diffIds: [`l${number}`] });
const upgrade = (of: Machine, number: number, downloadOnly = false) =>
  decideUpgrade(of, deploymentOf(of, remote(number), new Map()), { downloadOnly });

describe("upgrade", () => {
  test("what is new is staged", () => {
    expect(upgrade(machine(1, [1]), 2)).toEqual({ do: "stage" });
    expect(upgrade(machine(1, [1], { number: 2 }), 3)).toEqual({ do: "stage" });
  });

  test("what runs is nothing new", () => {
    expect(upgrade(machine(1, [1, 2]), 1)).toMatchObject({ do: "nothing", pending: false });
  });

  test("what is staged already is known by its manifest, so that --apply reboots (bootc defect: staged digest)", () => {
    expect(upgrade(machine(1, [1], { number: 2 }), 2)).toMatchObject({
      do: "nothing",
      why: "it is staged already",
      pending: true,
      deployment: { id: idOf(2), slot: "staged" },
    });
  });

  test("what was only downloaded is unlocked, unless that is asked for again", () => {
    const locked = machine(1, [1], { number: 2, locked: true });
    expect(upgrade(locked, 2)).toMatchObject({ do: "unlock", deployment: { id: idOf(2) } });
    expect(upgrade(locked, 2, true)).toMatchObject({ do: "nothing", pending: false });
  });

  test("what is there as another deployment is not staged again; a queued one waits for its reboot", () => {
    expect(upgrade(machine(1, [1, 2]), 2)).toMatchObject({
      do: "nothing",
      why: expect.stringContaining("cfsboot rollback"),
      pending: false,
    });
    expect(upgrade(machine(2, [1, 2]), 1)).toMatchObject({ do: "nothing", pending: true });
  });

  test("a staged switch is followed, not overwritten by what was followed before", () => {
    expect(followedImage(machine(1, [1], { number: 2 }))).toEqual(image(2));
    expect(followedImage(machine(1, [1]))).toEqual(image(1));
    expect(followedImage(machine(9, []))).toBe(undefined);
  });

  test("the same layers are the same image, whatever its documents say", () => {
    const of = machine(1, [1, 2]);
    const contents = new Map([[idOf(2), ["a", "b"]]]);
    const found = (...diffIds: string[]) =>
      deploymentOf(of, { manifestDigest: digestOf(9), diffIds }, contents)?.id;
    expect([found("a", "b"), found("b", "a"), found("a")]).toEqual([idOf(2), undefined, undefined]);
  });
});

describe("--from-downloaded", () => {
  test.each([
    [true, { do: "unlock" }],
    [false, { do: "nothing", pending: true }],
  ])("locked: %j", (locked, decision) => {
    expect(decideFromDownloaded(machine(1, [1], { number: 2, locked }))).toMatchObject(decision);
  });

  test("needs something that is staged", () => {
    expect(() => decideFromDownloaded(machine(1, [1]))).toThrow("nothing is staged");
  });
});

describe("switch", () => {
  const wish = { downloadOnly: false };
  const [booted] = machine(1, [1]).deployments;
  const decide = (twin: typeof booted, inPlace: boolean) =>
    decideSwitch(machine(1, [1]), twin, { ...wish, inPlace });

  test("the reference that is followed already is no change", () => {
    expect(isUnchanged(machine(1, [1]), image(1))).toBe(true);
    expect(isUnchanged(machine(1, [1]), { ...image(1), transport: "oci" })).toBe(false);
    // going back to what runs, while something else is staged, is one
    expect(isUnchanged(machine(1, [1], { number: 2 }), image(1))).toBe(false);
  });

  test("an image that a deployment has is an error that names it, or its new name", () => {
    expect(() => decide(booted, false)).toThrow(
      `the booted deployment ${idOf(1).slice(0, 12)} has this image already`,
    );
    expect(decide(booted, true)).toEqual({ do: "adopt", deployment: booted });
  });

  test("what runs follows the reference if nothing says what it follows, and nothing else is staged", () => {
    const lost = { ...booted!, state: { ...booted!.state!, origin: undefined } };
    expect(decide(lost, false)).toEqual({ do: "adopt", deployment: lost });
    const staged = machine(1, [1], { number: 2 });
    expect(() => decideSwitch(staged, lost, { ...wish, inPlace: false })).toThrow(
      "has this image already",
    );
  });

  test("another image is staged, but not in place", () => {
    expect(decide(undefined, false)).toEqual({ do: "stage" });
    expect(() => decide(undefined, true)).toThrow("no deployment has");
  });
});
