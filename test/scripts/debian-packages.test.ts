import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { mirror, parseDeb822Sources, parseOneLineSources } from "../../scripts/debian-packages.mjs";

let etc: string;
let environment: string | undefined;
beforeEach(() => {
  etc = mkdtempSync(join(tmpdir(), "etc-"));
  environment = process.env.DEBIAN_MIRROR;
  delete process.env.DEBIAN_MIRROR;
});
afterEach(() => {
  rmSync(etc, { recursive: true, force: true });
  if (environment !== undefined) process.env.DEBIAN_MIRROR = environment;
});

function write(name: string, content: string): void {
  mkdirSync(dirname(join(etc, name)), { recursive: true });
  writeFileSync(join(etc, name), content);
}

describe("the mirror of the machine's own sources", () => {
  test("deb822, with comments inside a stanza and security updates first", () => {
    write("os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");
    write(
      "apt/sources.list.d/debian.sources",
      `Types: deb
# a comment
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
URIs:
 http://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`,
    );
    expect(mirror(etc)).toBe("http://mirror.example/debian");
  });

  test("one line each, with options", () => {
    write("os-release", 'ID="debian"\nVERSION_CODENAME="trixie"\n');
    write(
      "apt/sources.list",
      `# deb http://commented.example/debian trixie main
deb-src http://source.example/debian trixie main
deb [arch=amd64 signed-by=/x.gpg] https://mirror.example/debian trixie main non-free
`,
    );
    expect(mirror(etc)).toBe("https://mirror.example/debian");
  });

  test("other vendors with suites of Debian's names do not count", () => {
    write("os-release", "ID=debian\nVERSION_CODENAME=trixie\n");
    write("apt/sources.list.d/a.list", "deb http://a.example/linux/debian trixie stable\n");
    write("apt/sources.list.d/b.list", "deb http://b.example/packages trixie main # ours\n");
    expect(mirror(etc)).toBe("http://b.example/packages");
    write("apt/sources.list.d/c.list", "deb http://mirror.example/debian/ trixie main\n");
    expect(mirror(etc)).toBe("http://mirror.example/debian/");
  });

  test("entries that are disabled, other releases and other files do not count", () => {
    write("os-release", "ID=debian\nVERSION_CODENAME=trixie\n");
    const stanza = "Types: deb\nURIs: http://off.example/\nSuites: trixie\nComponents: main\n";
    write("apt/sources.list.d/a.sources", `Enabled: no\n${stanza}`);
    write("apt/sources.list.d/b.sources.disabled", stanza);
    write("apt/sources.list.d/c.list", "deb http://other.example/vendor stablest main\n");
    expect(() => mirror(etc)).toThrow(/no Debian mirror/);
    write("apt/sources.list.d/z.list", "deb http://on.example/debian stable main\n");
    expect(mirror(etc)).toBe("http://on.example/debian");
  });

  test("another distribution needs DEBIAN_MIRROR", () => {
    write("os-release", "ID=ubuntu\nVERSION_CODENAME=noble\n");
    write("apt/sources.list", "deb http://mirror.example/ubuntu noble main\n");
    expect(() => mirror(etc)).toThrow(/no Debian mirror/);
    process.env.DEBIAN_MIRROR = "http://named.example/debian";
    expect(mirror(etc)).toBe("http://named.example/debian");
  });
});

test("hostile text is no source", () => {
  expect(parseDeb822Sources("")).toEqual([]);
  expect(parseDeb822Sources("no colon\n\n: empty\nURIs:\n")).toEqual([]);
  expect(parseOneLineSources("deb\ndeb [x\nnonsense")).toEqual([]);
});
