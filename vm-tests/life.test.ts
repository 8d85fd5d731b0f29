/** The whole life of a machine, several things in each boot, by systemd-boot and by GRUB. */
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import {
  expectDone,
  expectRefused,
  FAILED,
  judged,
  kargs,
  needRoot,
  needTime,
  objectOf,
  onPhysicalRoot,
  RELEASE,
  ROOT,
  release,
  SHUTDOWN,
  STATUS,
  slots,
  statusOf,
} from "./harness/life.ts";
import { newMachine } from "./harness/machine.ts";
import { answer } from "./harness/observations.ts";

const OTHER = "registry.example/other:one";
const CMDLINE = "cat /proc/cmdline";
const ETC =
  "cd /etc && head -qn1 app.conf edited.conf local.conf third.conf 2>/dev/null | paste -sd,";
const VAR = "cat /var/lib/kept";
const STATES = "ls /sysroot/state/deploy";
const STATE_OF_STAGED =
  "/sysroot/state/deploy/$(grep -oE [0-9a-f]{128} /run/composefs/staged-deployment)";
const GC_AGAIN = "cfsboot gc --dry-run --json";
const NOTHING_TO_COLLECT = { changed: false, steps: [] };
const FOREIGN = `title Foreign\\nversion 1\\nlinux /no-such-kernel\\noptions composefs=${"0".repeat(128)}\\n`;

/** One boot after the other: together they take longer than other tests may. */
const HOUR = 3_600_000;

test.for(["systemd", "grub"] as const)(
  "a machine with %s, from its installation through updates, rollbacks, a switch and another kernel",
  { timeout: HOUR },
  async (loader, context) => {
    needRoot(context);
    needTime(context);
    await using machine = await newMachine(`life ${loader}`, { loader });
    const writeBoot = loader === "systemd" ? (command: string) => command : onPhysicalRoot;
    const kernels = `ls -d ${machine.kernels}/bootc_composefs-*`;
    const large = randomBytes(1 << 20);
    const anotherInitramfs = machine.initramfsWith({ "etc/changed": "another initramfs\n" });
    const largeObject = `ls ${objectOf(large)}`;

    const second = [
      release("2"),
      { path: "etc/app.conf", data: "two\n" },
      { path: "usr/share/large", data: large },
    ];
    machine.publish("2", second);
    machine.publish("broken", [{ path: "etc/edited.conf/" }], "conflict");
    const one = await machine.boot({
      ...machine.beginning,
      edit: "echo mine > /etc/edited.conf && echo local > /etc/local.conf && echo kept > /var/lib/kept",
      conflict: "cfsboot upgrade --tag conflict",
      unchanged: STATUS,
      overlay: "cfsboot usr-overlay && touch /usr/new",
      overlaid: STATUS,
      upgrade: "cfsboot upgrade",
      vanish: "rm -r /run/composefs",
      vanished: STATUS,
      again: "cfsboot upgrade",
      orphan: onPhysicalRoot(`rm ${STATE_OF_STAGED}/*.origin`),
      orphaned: STATUS,
      third: "cfsboot upgrade",
      staged: STATUS,
      kernels,
      failed: FAILED,
    });
    expectDone(one, "seal", "configure", "edit", "overlay", "upgrade", "vanish", "again");
    expectDone(one, "orphan", "third");
    expectRefused(one, "conflict", /edited\.conf/);
    expect(slots(statusOf(one, "unchanged"))).toBe("booted");
    const base = statusOf(one, "unchanged").status.booted!.composefs.verity;
    expect(statusOf(one, "overlaid").status.usrOverlay).toEqual({
      accessMode: "readWrite",
      persistence: "transient",
    });
    expect(slots(statusOf(one, "vanished"))).toBe("booted");
    expect(statusOf(one, "orphaned").status.booted?.composefs.verity).toBe(base);
    expect(slots(statusOf(one, "staged"))).toBe("staged booted");
    expect(statusOf(one, "staged").status.staged).toMatchObject({ image: { version: "2" } });
    expect(answer(one, "kernels").split("\n")).toHaveLength(1);
    expect(answer(one, "failed")).toBe("");

    const two = await machine.boot({
      judged: judged(machine),
      root: ROOT,
      release: RELEASE,
      etc: ETC,
      var: VAR,
      overlay: "ls /usr/new",
      overlayAgain: "cfsboot usr-overlay --read-only && touch /usr/new",
      overlaid: STATUS,
      failed: FAILED,
      shutdown: SHUTDOWN,
      large: largeObject,
      gc: "cfsboot gc",
      gcAgain: GC_AGAIN,
      foreign: writeBoot(`printf "${FOREIGN}" > ${machine.entries}/foreign.conf`),
      status: STATUS,
      rollback: "cfsboot rollback",
      queued: STATUS,
    });
    expect(answer(two, "root")).toMatch("verity=require");
    expect(answer(two, "release")).toBe("2");
    expect(answer(two, "etc")).toBe("two,mine,local");
    expect(answer(two, "var")).toBe("kept");
    expect(answer(two, "overlay")).toMatch("No such file");
    expectRefused(two, "overlayAgain", /Read-only file system/);
    expect(statusOf(two, "overlaid").status.usrOverlay).toEqual({
      accessMode: "readOnly",
      persistence: "transient",
    });
    expect(answer(two, "failed")).toBe("");
    expect(answer(two, "shutdown")).toBe("");
    expectDone(two, "judged", "large", "gc", "foreign", "rollback");
    expect(JSON.parse(answer(two, "gcAgain"))).toMatchObject(NOTHING_TO_COLLECT);
    expect(slots(statusOf(two))).toBe("booted rollback");
    expect(statusOf(two).cfsboot.foreignEntries).toMatchObject([{ name: "foreign.conf" }]);
    expect(statusOf(two, "queued").status.rollbackQueued).toBe(true);

    machine.publish("3", [
      release("3"),
      { path: "etc/app.conf", data: "three\n" },
      ...kargs("life=3"),
    ]);
    const three = await machine.boot({
      release: RELEASE,
      etc: ETC,
      var: VAR,
      status: STATUS,
      edit: "echo third > /etc/third.conf",
      pin: "cfsboot pin booted",
      upgrade: "cfsboot upgrade",
      staged: STATUS,
      judged: judged(machine),
      failed: FAILED,
    });
    expect(answer(three, "release")).toMatch("No such file");
    expect(answer(three, "etc")).toBe("one,mine,local");
    expect(answer(three, "var")).toBe("kept");
    expect(statusOf(three).status).toMatchObject({
      booted: { composefs: { verity: base } },
      rollback: { image: { version: "2" } },
      rollbackQueued: false,
    });
    expectDone(three, "judged", "edit", "pin", "upgrade");
    expect(slots(statusOf(three, "staged"))).toBe("staged booted rollback");
    expect(answer(three, "failed")).toBe("");

    const fourth = [release("4"), { path: "etc/app.conf", data: "four\n" }];
    machine.publish("4", fourth, "four");
    const four = await machine.boot({
      judged: judged(machine),
      release: RELEASE,
      etc: ETC,
      cmdline: CMDLINE,
      status: STATUS,
      large: largeObject,
      edit: "cfsboot status --format yaml | cfsboot edit --filename -",
      editBoth:
        "cfsboot status --format yaml | sed 's,bootOrder: default,bootOrder: rollback,; s,os:stable,os:x,' | cfsboot edit --filename -",
      upgrade: "cfsboot upgrade --tag four",
      staged: STATUS,
      failed: FAILED,
      shutdown: SHUTDOWN,
    });
    expect(answer(four, "release")).toBe("3");
    expect(answer(four, "etc")).toBe("three,mine,local,third");
    expect(answer(four, "cmdline")).toMatch(/ life=3( |$)/);
    expect(slots(statusOf(four))).toBe("booted rollback other");
    expect(statusOf(four).status).toMatchObject({
      rollback: { composefs: { verity: base }, pinned: true },
      otherDeployments: [{ image: { version: "2" } }],
    });
    expect(answer(four, "edit")).toMatch("Edit cancelled");
    expectRefused(four, "editBoth", /invalid state transition/i);
    expectDone(four, "judged", "large", "upgrade");
    expect(statusOf(four, "staged").status.staged).toMatchObject({
      image: { version: "4", image: { image: "registry.example/os:four" } },
    });
    expect(answer(four, "failed")).toBe("");
    expect(answer(four, "shutdown")).toBe("");

    const five = await machine.boot({
      judged: judged(machine),
      release: RELEASE,
      etc: ETC,
      cmdline: CMDLINE,
      status: STATUS,
      gc: "cfsboot gc",
      states: STATES,
      large: largeObject,
      gcAgain: GC_AGAIN,
      rollback: `cfsboot rollback ${base.slice(0, 12)}`,
      failed: FAILED,
      shutdown: SHUTDOWN,
    });
    expect(answer(five, "release")).toBe("4");
    expect(answer(five, "etc")).toBe("four,mine,local,third");
    expect(answer(five, "cmdline")).not.toMatch("life=3");
    expect(slots(statusOf(five))).toBe("booted rollback other");
    expect(statusOf(five).status).toMatchObject({
      rollback: { image: { version: "3" } },
      otherDeployments: [{ composefs: { verity: base }, pinned: true }],
    });
    expectDone(five, "judged", "gc", "rollback");
    expect(answer(five, "states").split("\n")).toHaveLength(3);
    expect(answer(five, "large")).toMatch("No such file");
    expect(JSON.parse(answer(five, "gcAgain"))).toMatchObject(NOTHING_TO_COLLECT);
    expect(answer(five, "failed")).toBe("");
    expect(answer(five, "shutdown")).toBe("");

    machine.publish("same", fourth, "same");
    machine.publish("other 1", [release("other 1"), anotherInitramfs], "one");
    const six = await machine.boot({
      release: RELEASE,
      etc: ETC,
      status: STATUS,
      same: "cfsboot switch registry.example/os:same",
      inPlace: "cfsboot switch --in-place registry.example/os:same",
      adopted: STATUS,
      unpin: `cfsboot unpin ${base}`,
      switch: `cfsboot switch ${OTHER}`,
      staged: STATUS,
      kernels,
      judged: judged(machine),
      failed: FAILED,
    });
    expect(answer(six, "release")).toMatch("No such file");
    expect(answer(six, "etc")).toBe("one,mine,local,third");
    expect(slots(statusOf(six))).toBe("booted rollback other");
    expectRefused(six, "same", /deployment [0-9a-f]{12} has this image already/);
    expectDone(six, "judged", "inPlace", "unpin", "switch");
    expect(statusOf(six, "adopted").status.rollback).toMatchObject({
      image: { image: { image: "registry.example/os:same" }, version: "4" },
    });
    expect(statusOf(six, "adopted").cfsboot.warnings).toEqual([]);
    expect(statusOf(six, "staged").status.staged).toMatchObject({
      image: { version: "other 1", image: { image: OTHER } },
    });
    expect(answer(six, "kernels").split("\n")).toHaveLength(2);
    expect(answer(six, "failed")).toBe("");

    machine.publish("other 2", [release("other 2"), anotherInitramfs], "one");
    const seven = await machine.boot({
      judged: judged(machine),
      release: RELEASE,
      etc: ETC,
      gc: "cfsboot gc",
      status: STATUS,
      states: STATES,
      kernels,
      download: "cfsboot upgrade --download-only",
      downloaded: STATUS,
      failed: FAILED,
      shutdown: SHUTDOWN,
    });
    expect(answer(seven, "release")).toBe("other 1");
    expect(answer(seven, "etc")).toBe("one,mine,local,third");
    expect(slots(statusOf(seven))).toBe("booted rollback");
    expect(statusOf(seven).status.rollback?.composefs.verity).toBe(base);
    expect(answer(seven, "states").split("\n")).toHaveLength(2);
    expect(answer(seven, "kernels").split("\n")).toHaveLength(2);
    expectDone(seven, "judged", "gc", "download");
    expect(statusOf(seven, "downloaded").status.staged).toMatchObject({ downloadOnly: true });
    expect(answer(seven, "failed")).toBe("");
    expect(answer(seven, "shutdown")).toBe("");

    const eight = await machine.boot({
      release: RELEASE,
      status: STATUS,
      download: "cfsboot upgrade --download-only",
      more: "cfsboot upgrade --download-only",
      fromDownloaded: "cfsboot upgrade --from-downloaded",
      staged: STATUS,
      judged: judged(machine),
      failed: FAILED,
      shutdown: SHUTDOWN,
    });
    expect(answer(eight, "release")).toBe("other 1");
    expect(slots(statusOf(eight))).toBe("booted rollback");
    expect(statusOf(eight).cfsboot.trouble).toBeNull();
    expectDone(eight, "judged", "download", "more", "fromDownloaded");
    expect(answer(eight, "more")).toMatch("it is downloaded already");
    expect(statusOf(eight, "staged").status.staged).toMatchObject({ downloadOnly: false });
    expect(answer(eight, "failed")).toBe("");
    expect(answer(eight, "shutdown")).toBe("");

    const nine = await machine.boot({
      judged: judged(machine),
      release: RELEASE,
      etc: ETC,
      var: VAR,
      status: STATUS,
      gc: "cfsboot gc",
      kernels,
      foreign: `cat ${machine.entries}/foreign.conf`,
      gcAgain: GC_AGAIN,
      failed: FAILED,
      shutdown: SHUTDOWN,
    });
    expect(answer(nine, "release")).toBe("other 2");
    expect(answer(nine, "etc")).toBe("one,mine,local,third");
    expect(answer(nine, "var")).toBe("kept");
    expect(statusOf(nine).status).toMatchObject({
      booted: { image: { image: { image: OTHER }, version: "other 2" } },
      rollback: { image: { version: "other 1" } },
    });
    expectDone(nine, "judged", "gc");
    // that of the first image has gone with the last that booted it
    const kernel = statusOf(six, "staged").cfsboot.deployments[0]?.kernel;
    expect(answer(nine, "kernels")).toBe(`${machine.kernels}/bootc_composefs-${kernel}`);
    expect(answer(nine, "foreign")).toMatch("title Foreign");
    expect(JSON.parse(answer(nine, "gcAgain"))).toMatchObject(NOTHING_TO_COLLECT);
    expect(answer(nine, "failed")).toBe("");
    expect(answer(nine, "shutdown")).toBe("");
  },
);
