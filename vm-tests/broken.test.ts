/** Updates that do not come up: they are left after three tries, by systemd-boot and by GRUB, and told of. */
import { expect, test } from "vitest";
import type { TarFile } from "../test/oci/fixtures/images.ts";
import {
  expectDone,
  judged,
  kargs,
  needRoot,
  needTime,
  RELEASE,
  release,
  STATUS,
  slots,
  statusOf,
} from "./harness/life.ts";
import { newMachine } from "./harness/machine.ts";
import { answer } from "./harness/observations.ts";
import { plain } from "./harness/qemu.ts";

const UNITS = "usr/lib/systemd/system";
const BROKEN = `[Unit]
Description=What this image is for
Before=boot-complete.target
[Service]
Type=oneshot
ExecStart=/bin/false
`;

/** Boots, but does not do what it is for. */
const useless: readonly TarFile[] = [
  { path: `${UNITS}/broken.service`, data: BROKEN },
  { path: `${UNITS}/boot-complete.target.requires/` },
  {
    path: `${UNITS}/boot-complete.target.requires/broken.service`,
    type: "2",
    link: "../broken.service",
  },
];

/** One boot after the other: together they take longer than other tests may. */
const HOUR = 3_600_000;

test.for(["systemd", "grub"] as const)(
  "updates that panic, or do not reach boot-complete.target, are left by %s after three tries",
  { timeout: HOUR },
  async (loader, context) => {
    needRoot(context);
    needTime(context);
    await using machine = await newMachine(`broken ${loader}`, { loader });
    const look = {
      release: RELEASE,
      status: STATUS,
      told: "cfsboot status",
      judged: `${judged(machine)}; systemctl --failed --plain --no-legend`,
    };

    // nothing then finds the root
    machine.publish("2", [release("2"), ...kargs("rdinit=/no-such-program")]);
    const first = await machine.boot({ ...machine.beginning, upgrade: "cfsboot upgrade" });
    expectDone(first, "seal", "configure", "upgrade");
    for (let tries = 0; tries < 3; tries++) {
      expect(plain((await machine.boot()).console)).toMatch("Kernel panic");
    }

    machine.publish("3", [release("3"), ...useless]);
    const second = await machine.boot({ ...look, upgrade: "cfsboot upgrade", staged: STATUS });
    expect(answer(second, "release")).toMatch("No such file");
    expect(answer(second, "told")).toMatch("did not come up, tried 3 times");
    expect(answer(second, "judged")).toMatch("cfsboot-boot-complete.service");
    expect(slots(statusOf(second))).toBe("booted rollback");
    if (loader === "systemd") {
      expect(answer(second, "judged")).toMatch("bootc_debian-13-1+0-3.conf");
    }
    expectDone(second, "upgrade");
    // until the staged one takes over
    expect(slots(statusOf(second, "staged"))).toBe("staged booted rollback");

    for (const left of [2, 1, 0]) {
      const attempt = await machine.boot(look);
      expect(answer(attempt, "release")).toBe("3");
      const booted = { slot: "booted", tries: { left, done: 3 - left } };
      const rollback = { slot: "rollback", tries: null };
      // one without tries left comes after the others
      expect(statusOf(attempt).cfsboot.deployments).toMatchObject(
        left > 0 ? [booted, rollback] : [rollback, booted],
      );
      expect(answer(attempt, "judged")).toMatch("broken.service");
      expect(answer(attempt, "judged")).toMatch("cfsboot-boot-complete.service");
    }

    const last = await machine.boot(look);
    expect(answer(last, "release")).toMatch("No such file");
    expect(answer(last, "told")).toMatch("did not come up, tried 3 times");
    expect(answer(last, "judged")).toMatch("cfsboot-boot-complete.service");
    const broken = statusOf(second, "staged").cfsboot.deployments[0]?.id;
    expect(statusOf(last).cfsboot.trouble?.id).toBe(broken);
  },
);
