import { describe, expect, test } from "vitest";
import { DEFAULT_CONF, type SetupRootConf } from "../../src/formats/setup-root-conf.ts";
import { planRoot, rootSource } from "../../src/model/root-plan.ts";

const A = "a1".repeat(32);
const plan = (cmdline: string, conf: Partial<SetupRootConf> = {}) =>
  planRoot(`composefs=${A} ${cmdline}`, { ...DEFAULT_CONF, ...conf });

describe("planRoot", () => {
  test("binds /etc and /var by default", () => {
    expect(plan("ro")).toMatchObject({ etc: "bind", var: "bind", transient: false });
  });

  test.each(["state", "overlay"])(
    "leaves /var to systemd.volatile=%s unless configured",
    (mode) => {
      expect(plan(`systemd.volatile=${mode}`)).toMatchObject({ etc: "bind", var: "none" });
      expect(plan(`systemd.volatile=${mode}`, { var: "overlay" }).var).toBe("overlay");
    },
  );

  test.each([
    "systemd.mount-extra=UUID=01-23:/var:ext4",
    "systemd.mount-extra=/dev/disk/by-path/pci-0000\\:00:/var/",
    "systemd.mount-extra=tmpfs:/srv quiet systemd.mount-extra=LABEL=v:/var",
  ])("leaves /var to %s", (argument) => {
    expect(plan(argument).var).toBe("none");
    expect(plan(argument, { var: "bind" }).var).toBe("bind");
  });

  test.each([
    "systemd.mount-extra=LABEL=x:/var/lib",
    "systemd.mount-extra=/var",
    "rd.systemd.mount-extra=LABEL=x:/var",
  ])("%s changes nothing", (argument) => {
    expect(plan(argument).var).toBe("bind");
  });

  test.each(["systemd.volatile", "systemd.volatile=yes", "systemd.volatile=no"])(
    "%s changes nothing",
    (argument) => {
      expect(plan(argument).var).toBe("bind");
    },
  );

  test("the configuration decides", () => {
    expect(plan("", { etc: "none", var: "transient", rootTransient: true })).toMatchObject({
      etc: "none",
      var: "transient",
      transient: true,
    });
  });

  test("a command line without an image is an error", () => {
    expect(() => planRoot("root=/dev/vda composefs", DEFAULT_CONF)).toThrow(
      "no composefs= or composefs.digest= on the kernel command line",
    );
  });
});

test("the mount source tells the deployment", () => {
  expect(rootSource(A, false)).toBe(`composefs:${A}`);
  expect(rootSource(A, true)).toBe(`transient:composefs=${A}`);
});
