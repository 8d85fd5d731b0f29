/**
 * Images that others make, and what others say of ours. Each test needs the programs that it names; some need systemd's
 * stubs, which are looked for in `$SYSTEMD_STUBS`, or where systemd has them.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, type TestContext, test } from "vitest";
import { authenticodeInput, readCertificates } from "../../src/formats/authenticode.ts";
import { lengthOf, readPieces, sourceOf } from "../../src/formats/byte-source.ts";
import { type PeImage, readPe } from "../../src/formats/pe.ts";
import {
  bootDigestRanges,
  readUki,
  sectionOf,
  ukiCmdline,
  ukiOsRelease,
  ukiProfileLabel,
  ukiRelease,
} from "../../src/formats/uki.ts";
import { pe } from "../formats/pe-builder.ts";

const STUBS = process.env.SYSTEMD_STUBS ?? "/usr/lib/systemd/boot/efi";
const STUB = `${STUBS}/linuxx64.efi.stub`;
/** There is one since systemd 254. */
const ADDON_STUB = `${STUBS}/addonx64.efi.stub`;

let scratch = "";
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "cfsboot-pe-"));
});
afterAll(() => rmSync(scratch, { recursive: true }));

const file = (name: string) => join(scratch, name);
const readImage = (path: string) => readPe(sourceOf(readFileSync(path)));

function put(name: string, data: string | Uint8Array): string {
  writeFileSync(file(name), data);
  return file(name);
}

function run(command: string, ...args: string[]): string {
  const { error, status, stdout, stderr } = spawnSync(command, args, { encoding: "latin1" });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command}: exit status ${status}\n${stdout}${stderr}`);
  return stdout;
}

function needs(ctx: TestContext, ...programs: string[]): void {
  for (const program of programs) {
    const { error } = spawnSync(program, ["--version"]);
    if (error !== undefined) ctx.skip(`${program} is not on the PATH`);
  }
}

function needsStub(ctx: TestContext, stub = STUB): void {
  if (!existsSync(stub)) ctx.skip(`systemd's stub is not at ${stub}`);
}

function sha256(image: PeImage, ranges: Parameters<typeof readPieces>[1], padding = 0): string {
  const hash = createHash("sha256");
  for (const piece of readPieces(image.source, ranges)) hash.update(piece);
  return hash.update(Buffer.alloc(padding)).digest("hex");
}

const authenticode = (image: PeImage) => {
  const { ranges, padding } = authenticodeInput(image);
  return sha256(image, ranges, padding);
};

const KERNEL = Buffer.alloc(70_001, "kernel");
const INITRD = Buffer.alloc(50_003, "initramfs");

/** As it was done before there was ukify. */
function objcopyUki(name: string, kernel: Uint8Array, initrdAddress: number): string {
  const { imageBase } = readImage(STUB);
  const sections: [string, string, number][] = [
    [".osrel", put("osrel", "ID=debian\n"), 0x20000],
    [".cmdline", put("cmdline", "quiet rw\n\0"), 0x30000],
    [".linux", put("linux", kernel), 0x2000000],
    [".initrd", put("initrd", INITRD), initrdAddress],
  ];
  const args = sections.flatMap(([section, path, address]) => [
    ...["--add-section", `${section}=${path}`],
    ...["--change-section-vma", `${section}=0x${(imageBase + address).toString(16)}`],
  ]);
  run("objcopy", ...args, STUB, file(name));
  return file(name);
}

test("objdump sees the sections where we do", (ctx) => {
  needs(ctx, "objdump");
  for (const format of ["PE32", "PE32+"] as const) {
    const machine = format === "PE32" ? 0x14c : 0x8664;
    const sections = [
      { name: ".linux", data: KERNEL, characteristics: 0x60000020 },
      { name: ".cmdline", data: "quiet" },
    ];
    const path = put(`${format}.efi`, pe({ format, machine, sections, stub: 56 }));
    const image = readImage(path);
    const seen = [...run("objdump", "-h", path).matchAll(/^ +\d+ (\S+) +(.*)$/gm)].map(
      ([, name, rest]) => [name, ...rest!.split(/ +/).slice(0, 4)],
    );
    const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
    const digits = format === "PE32" ? 8 : 16;
    expect(seen).toEqual(
      image.sections.map(({ name, content, virtualAddress }) => {
        const address = hex(image.imageBase + virtualAddress, digits);
        return [name, hex(lengthOf(content), 8), address, address, hex(content.start, 8)];
      }),
    );
  }
});

test("an image that objcopy has made of systemd's stub is read", (ctx) => {
  needs(ctx, "objcopy");
  needsStub(ctx);
  const uki = readUki(readImage(objcopyUki("old.efi", KERNEL, 0x3000000)));
  const [profile] = uki.profiles;
  expect(ukiCmdline(uki, profile)).toBe("quiet rw");
  expect(ukiOsRelease(uki, profile)?.get("ID")).toBe("debian");
  expect(sha256(uki.image, bootDigestRanges(uki, { deviceTree: true }))).toBe(
    createHash("sha256").update(KERNEL).update(INITRD).digest("hex"),
  );
});

test("one whose kernel has grown into the initramfs is refused", (ctx) => {
  needs(ctx, "objcopy");
  needsStub(ctx);
  const path = objcopyUki("overlap.efi", KERNEL, 0x2011000);
  expect(() => readUki(readImage(path))).toThrow(
    'section ".initrd" is loaded at 33624064; expected it behind ".linux"',
  );
});

test("what osslsigncode signs is what we hash", (ctx) => {
  needs(ctx, "osslsigncode", "openssl");
  const [key, cert] = [file("key.pem"), file("cert.pem")];
  const request = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = ["-subj", "/CN=test", "-days", "2", "-keyout", key, "-out", cert];
  run("openssl", "req", "-x509", ...request, ...names);
  const sections = [{ name: ".linux", data: KERNEL }];
  const ours = put("ours.efi", pe({ sections, trailing: Buffer.from("odd") }));
  for (const path of existsSync(STUB) ? [ours, STUB] : [ours]) {
    const signed = file("signed.efi");
    rmSync(signed, { force: true });
    const args = ["-certs", cert, "-key", key, "-h", "sha256", "-in", path, "-out", signed];
    run("osslsigncode", "sign", ...args);
    // it does not know the key, which does not matter here
    const { stdout } = spawnSync("osslsigncode", ["verify", signed], { encoding: "latin1" });
    const digest = /^Current message digest +: ([0-9A-F]{64})/m.exec(stdout)?.[1]?.toLowerCase();
    const image = readImage(signed);
    expect(authenticode(image)).toBe(digest);
    expect(authenticode(readImage(path))).toBe(digest);
    expect(readCertificates(image).map(({ type }) => type)).toEqual([2]);
  }
});

test("pesign hashes what we hash", (ctx) => {
  needs(ctx, "pesign");
  const sections = [{ name: ".linux", data: KERNEL }];
  const path = put("pesign.efi", pe({ sections, trailing: Buffer.from("odd") }));
  const digest = /[0-9a-f]{64}/.exec(run("pesign", "-h", "-P", "-i", path))?.[0];
  expect(authenticode(readImage(path))).toBe(digest);
});

test("what ukify builds is read, and ukify sees the same in it", (ctx) => {
  needs(ctx, "ukify");
  needsStub(ctx, ADDON_STUB);
  const linux = put("ukify-linux", pe({ sections: [{ name: ".text", data: KERNEL }] }));
  const initrd = put("ukify-initrd", INITRD);
  const reset = file("profile.efi");
  const addon = ["--stub", ADDON_STUB, "--output", reset];
  run("ukify", "build", "--profile", "ID=reset", "--cmdline", "reset", ...addon);
  const path = file("ukify.efi");
  const texts = ["--cmdline", "quiet rw", "--uname", "6.12.1", "--os-release", "ID=debian"];
  const profiles = ["--profile", "ID=main\nTITLE=Main", "--join-profile", reset];
  const files = ["--linux", linux, "--initrd", initrd, "--stub", STUB, "--output", path];
  run("ukify", "build", ...files, ...texts, ...profiles);
  const uki = readUki(readImage(path));
  const { image } = uki;
  expect(uki.profiles.map((profile) => ukiCmdline(uki, profile))).toEqual(["quiet rw", "reset"]);
  expect(uki.profiles.map((profile) => ukiProfileLabel(uki, profile).id)).toEqual([
    "main",
    "reset",
  ]);
  expect(uki.profiles.map((profile) => ukiRelease(uki, profile))).toEqual(["6.12.1", "6.12.1"]);
  const inspected = JSON.parse(run("ukify", "inspect", path, "--json=short"));
  for (const name of [".linux", ".initrd", ".uname", ".osrel"] as const) {
    const { content } = sectionOf(uki.profiles[0], name)!;
    expect({ size: lengthOf(content), sha256: sha256(image, [content]) }).toEqual({
      size: inspected[name].size,
      sha256: inspected[name].sha256,
    });
  }
}, 300_000);
