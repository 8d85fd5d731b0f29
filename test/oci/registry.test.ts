import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect as connectTo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parseChallenges } from "../../userspace/oci/authorization.ts";
import { defaultAuthFiles, findCredentials } from "../../userspace/oci/credentials.ts";
import { parseReference, type RegistryReference } from "../../userspace/oci/reference.ts";
import { openRegistry, type RegistryOptions } from "../../userspace/oci/registry.ts";
import { readBlob, type Transport } from "../../userspace/oci/transport.ts";
import { digestOf, RegistryServer, tokenAuthentication } from "./fixtures/registry-server.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i) >> 3));

let registry: RegistryServer;
let open: Transport[] = [];
beforeEach(async () => {
  registry = await RegistryServer.start();
});
afterEach(async () => {
  await Promise.all(open.map((transport) => transport.close()));
  open = [];
  await registry.close();
});

function reference(rest = "a/b:tag"): RegistryReference {
  return parseReference(`docker://${registry.host}/${rest}`) as RegistryReference;
}

async function connect(options: Partial<RegistryOptions> = {}, rest?: string): Promise<Transport> {
  const transport = await openRegistry(reference(rest), {
    tlsVerify: true,
    retryDelay: 1,
    ...options,
  });
  open.push(transport);
  return transport;
}

function fetchBlob(transport: Transport, blob: { digest: string; size: number }) {
  return readBlob(transport, { ...blob, mediaType: "x" }, 1 << 20);
}

/** The message of a failure and of what caused it. */
async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    const messages: string[] = [];
    for (let at: unknown = error; at instanceof Error; at = at.cause) messages.push(at.message);
    return messages.join(": ");
  }
  throw new Error("did not fail");
}

describe("manifests", () => {
  test("by tag and by digest, over HTTP on the loopback, as cfsboot", async () => {
    let agent: string | undefined;
    registry.intercept = (request) => {
      agent = request.headers["user-agent"];
      return false;
    };
    const { digest } = registry.addManifest({ some: "thing" }, MANIFEST, "tag");
    for (const rest of ["a/b:tag", `a/b@${digest}`, `a/b:other@${digest}`]) {
      const root = await (await connect({}, rest)).root();
      expect(root).toMatchObject({ mediaType: MANIFEST, digest });
      expect(Buffer.from(root.bytes).toString()).toBe('{"some":"thing"}');
    }
    expect(agent).toMatch(/^cfsboot\/\d+\.\d+\.\d+/);
  });

  test("what is not what its digest says is refused", async () => {
    const { digest } = registry.addManifest({ good: 1 }, MANIFEST);
    registry.manifests.set(digest, { mediaType: MANIFEST, bytes: Buffer.from('{"evil":1}') });
    const transport = await connect({}, `a/b@${digest}`);
    expect(await failure(transport.root())).toContain(`expected ${digest}`);
    const descriptor = { mediaType: MANIFEST, digest, size: 10 };
    expect(await failure(transport.manifest(descriptor))).toContain(`expected ${digest}`);
  });

  test("the registry's word and the error in it are passed on", async () => {
    const message = await failure((await connect()).root());
    expect(message).toBe(
      `http://${registry.host}/v2/a/b/manifests/tag: HTTP status 404 (UNKNOWN: there is no such)`,
    );
  });

  test("a manifest without end is not read to its end", async () => {
    registry.intercept = (request, response) => {
      if (!request.url?.includes("manifests")) return false;
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65536, 32)));
      };
      response.on("drain", more);
      more();
      return true;
    };
    expect(await failure((await connect()).root())).toContain("longer than 4194304 bytes");
  });
});

describe("unsteady registries", () => {
  test("5xx and 429 are asked again, Retry-After is heeded, and in the end the last is reported", async () => {
    registry.addManifest({}, MANIFEST, "tag");
    const transport = await connect();
    let bad = 3;
    const fail = (status: number) => (_: unknown, response: ServerResponse) => {
      if (bad-- <= 0) return false;
      response.statusCode = bad === 0 ? 429 : status;
      response.setHeader("retry-after", "0");
      response.end();
      return true;
    };
    registry.intercept = fail(503);
    await transport.root();
    expect(bad).toBe(-1);

    bad = 1000;
    registry.intercept = fail(502);
    expect(await failure(transport.root())).toContain("HTTP status 502");
    expect(bad).toBe(995);
  });

  test("a download that breaks off is taken up where it stopped", async () => {
    const blob = registry.addBlob(bytes);
    const transport = await connect();
    registry.intercept = (request, response) => {
      const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
      if (!request.url?.includes("blobs") || from > 200_000) return false;
      response.writeHead(from > 0 ? 206 : 200, {
        "content-length": bytes.length - from,
        "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
      });
      response.write(bytes.subarray(from, from + 70_000), () => response.destroy());
      return true;
    };
    expect(Buffer.compare(await fetchBlob(transport, blob), bytes)).toBe(0);
    const ranges = registry.requests.map(({ range }) => range).filter((range) => range);
    expect(ranges.length).toBeGreaterThanOrEqual(3);
  });

  test("a server that knows no ranges sends it all again", async () => {
    const blob = registry.addBlob(bytes);
    const transport = await connect();
    let breaks = 2;
    registry.intercept = (request, response) => {
      if (!request.url?.includes("blobs")) return false;
      response.writeHead(200, { "content-length": bytes.length });
      if (breaks-- > 0) response.write(bytes.subarray(0, 100_000), () => response.destroy());
      else response.end(bytes);
      return true;
    };
    expect(Buffer.compare(await fetchBlob(transport, blob), bytes)).toBe(0);
  });

  test("a server that answers with other bytes than those asked for is not believed", async () => {
    const blob = registry.addBlob(bytes);
    const transport = await connect();
    registry.intercept = (request, response) => {
      if (!request.url?.includes("blobs")) return false;
      if (request.headers.range) {
        response.writeHead(206, { "content-range": `bytes 0-5/${bytes.length}` });
        response.end("abcdef");
      } else {
        response.writeHead(200, { "content-length": bytes.length });
        response.write(bytes.subarray(0, 1000), () => response.destroy());
      }
      return true;
    };
    expect(await failure(fetchBlob(transport, blob))).toMatch(/asked for bytes from 1000/);
  });

  test("one that always breaks off is given up", async () => {
    const blob = registry.addBlob(bytes);
    const transport = await connect();
    registry.intercept = (request, response) => {
      if (!request.url?.includes("blobs")) return false;
      response.destroy();
      return true;
    };
    await failure(fetchBlob(transport, blob));
    expect(registry.requests.length).toBeLessThan(40);
  });

  test("a short, a long and a changed blob are refused, saying how", async () => {
    const blob = registry.addBlob(bytes);
    const transport = await connect();
    registry.blobs.set(blob.digest, bytes.subarray(1));
    expect(await failure(fetchBlob(transport, blob))).toBe("ends after 299999 of 300000 bytes");
    registry.blobs.set(blob.digest, Buffer.concat([bytes, Buffer.from("x")]));
    expect(await failure(fetchBlob(transport, blob))).toBe("is longer than 300000 bytes");
    const changed = Buffer.from(bytes);
    changed[123_456]! ^= 1;
    registry.blobs.set(blob.digest, changed);
    expect(await failure(fetchBlob(transport, blob))).toBe(
      `has the digest ${digestOf(changed)}; expected ${blob.digest}`,
    );
  });

  test("nobody listens: said at once", async () => {
    const gone = await RegistryServer.start();
    await gone.close();
    const started = Date.now();
    const message = await failure(
      openRegistry(parseReference(`docker://${gone.host}/a`) as RegistryReference, {
        tlsVerify: true,
      }),
    );
    expect(message).toContain(`ECONNREFUSED ${gone.host}`);
    expect(Date.now() - started).toBeLessThan(2000);
  });

  test("an abort ends a download", async () => {
    const blob = registry.addBlob(bytes);
    const transport = await connect();
    registry.intercept = (request, response) => {
      if (!request.url?.includes("blobs")) return false;
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, 1000)); // and no more
      return true;
    };
    const controller = new AbortController();
    const chunks = transport.blob({ ...blob, mediaType: "x" }, controller.signal);
    const message = failure(
      (async () => {
        for await (const _ of chunks) controller.abort(new Error("enough"));
      })(),
    );
    expect(await message).toBe("enough");
  });
});

describe("redirects", () => {
  test("blobs may be elsewhere; the authorization does not go there", async () => {
    const store = await RegistryServer.start();
    try {
      const blob = registry.addBlob(bytes);
      registry.blobs.clear();
      const authenticate = tokenAuthentication(registry);
      registry.intercept = (request, response) => {
        if (authenticate(request, response)) return true;
        if (!request.url?.includes("blobs")) return false;
        response.writeHead(307, { location: `http://${store.host}/elsewhere?signature=s` });
        response.end();
        return true;
      };
      store.intercept = (_, response) => {
        response.end(bytes);
        return true;
      };
      const transport = await connect();
      expect(Buffer.compare(await fetchBlob(transport, blob), bytes)).toBe(0);
      expect(registry.requests.at(-1)?.authorization).toMatch(/^Bearer /);
      expect(store.requests).toEqual([
        { path: "/elsewhere?signature=s", authorization: undefined, range: undefined },
      ]);
    } finally {
      await store.close();
    }
  });

  test("in circles they end", async () => {
    registry.intercept = (request, response) => {
      if (!request.url?.includes("manifests")) return false;
      response.writeHead(302, { location: request.url });
      response.end();
      return true;
    };
    expect(await failure((await connect()).root())).toContain("more than 5 redirects");
  });
});

describe("authorization", () => {
  test("challenges, also several in one header", () => {
    const [basic, bearer, other] = parseChallenges(
      'Basic realm="a \\"b\\", c", Bearer realm="https://x/token",Service=y,scope="repository:a:pull,push" , Negotiate',
    );
    expect(basic).toEqual({ scheme: "basic", parameters: new Map([["realm", 'a "b", c']]) });
    expect(Object.fromEntries(bearer!.parameters)).toEqual({
      realm: "https://x/token",
      service: "y",
      scope: "repository:a:pull,push",
    });
    expect(other?.scheme).toBe("negotiate");
    expect(parseChallenges("")).toEqual([]);
    expect(parseChallenges('"')).toEqual([]);
  });

  test("an anonymous token, fetched once for many", async () => {
    registry.intercept = tokenAuthentication(registry);
    registry.addManifest({}, MANIFEST, "tag");
    const blob = registry.addBlob(bytes);
    const transport = await connect();
    await transport.root();
    await Promise.all([1, 2, 3].map(() => fetchBlob(transport, blob)));
    const tokens = registry.requests.filter(({ path }) => path.startsWith("/token"));
    expect(tokens.map(({ path }) => path)).toEqual([
      "/token?service=svc&scope=repository%3Aa%2Fb%3Apull",
    ]);
  });

  test("a token for a password; a wrong or missing one is told apart", async () => {
    registry.intercept = tokenAuthentication(registry, "me:pass:word");
    registry.addManifest({}, MANIFEST, "tag");
    const login = (creds?: string) =>
      connect({ credentials: findCredentials(reference(), { creds }, { HOME: "" }) });
    await (await login("me:pass:word")).root();
    expect(await failure((await login("me:wrong")).root())).toContain(
      `${registry.host} does not accept the credentials`,
    );
    const transport = await login();
    expect(await failure(transport.root())).toContain(`${registry.host} demands a login`);
    await transport.root().catch((error) => expect(error.hint).toContain("--creds USER:PASSWORD"));
  });

  test("a token that expired before its time is renewed", async () => {
    registry.intercept = tokenAuthentication(registry);
    registry.addManifest({}, MANIFEST, "tag");
    const transport = await connect();
    await transport.root();
    const honest = registry.intercept;
    let refused = false;
    registry.intercept = (request, response) => {
      if (request.url?.startsWith("/token")) refused = true;
      if (request.url?.includes("manifests") && !refused) {
        return honest({ ...request, headers: {}, url: request.url } as typeof request, response);
      }
      return honest(request, response);
    };
    await transport.root();
    expect(refused).toBe(true);
  });

  test("an identity token is posted to the token server, and to nobody else", async () => {
    let form = "";
    const authenticate = tokenAuthentication(registry);
    registry.intercept = (request, response) => {
      if (request.url !== "/token") return authenticate(request, response);
      expect(request.method).toBe("POST");
      request.on("data", (chunk) => {
        form += chunk;
      });
      request.on("end", () => response.end('{"access_token":"t-repository:a/b:pull-svc"}'));
      return true;
    };
    registry.addManifest({}, MANIFEST, "tag");
    await (await connect({ credentials: { identityToken: "secret" } })).root();
    expect(Object.fromEntries(new URLSearchParams(form))).toEqual({
      grant_type: "refresh_token",
      refresh_token: "secret",
      client_id: "cfsboot",
      service: "svc",
      scope: "repository:a/b:pull",
    });
    expect(registry.requests.some(({ path }) => path.includes("secret"))).toBe(false);
  });

  test("basic", async () => {
    const expected = `Basic ${Buffer.from("me:secret").toString("base64")}`;
    registry.intercept = (request, response) => {
      if (request.headers.authorization === expected) return false;
      response.writeHead(401, { "www-authenticate": 'Basic realm="Registry Realm"' });
      response.end();
      return true;
    };
    registry.addManifest({}, MANIFEST, "tag");
    await (await connect({ credentials: { username: "me", password: "secret" } })).root();
    expect(await failure(connect())).toContain("demands a login");
    const wrong = await connect({ credentials: { username: "me", password: "x" } });
    await expect(wrong.root()).rejects.toMatchObject({
      message: expect.stringContaining("HTTP status 401"),
      hint: expect.stringContaining("password"),
    });
  });

  test("a challenge that cannot be met is named", async () => {
    registry.intercept = (_, response) => {
      response.writeHead(401, { "www-authenticate": "Negotiate" });
      response.end();
      return true;
    };
    expect(await failure(connect())).toContain("asks for negotiate; expected Bearer or Basic");
  });

  describe("credentials files", () => {
    let directory: string;
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), "auth-"));
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    function find(auths: unknown, ref: string) {
      const authfile = join(directory, "auth.json");
      writeFileSync(authfile, typeof auths === "string" ? auths : JSON.stringify(auths));
      return findCredentials(parseReference(`docker://${ref}`) as RegistryReference, { authfile });
    }
    const entry = (login: string) => ({ auth: Buffer.from(login).toString("base64") });

    test("the most specific entry decides", () => {
      const auths = {
        "h.io": entry("u:1"),
        "h.io/org": entry("u:2"),
        "h.io/org/img": entry("u:3"),
      };
      expect(find({ auths }, "h.io/x")).toEqual({ username: "u", password: "1" });
      expect(find({ auths }, "h.io/org/other")).toEqual({ username: "u", password: "2" });
      expect(find({ auths }, "h.io/org/img:tag")).toEqual({ username: "u", password: "3" });
      expect(find({ auths }, "other.io/x")).toBeUndefined();
    });

    test("Docker Hub by its old URL; identity tokens", () => {
      const auths = { "https://index.docker.io/v1/": entry("u:p:q") };
      expect(find({ auths }, "debian")).toEqual({ username: "u", password: "p:q" });
      expect(find({ auths: { "h.io": { identitytoken: "t" } } }, "h.io/x")).toEqual({
        identityToken: "t",
      });
    });

    test.each([
      ["{", "expected JSON"],
      ["[]", "expected a JSON object"],
      ['{"auths":{"h.io":{"auth":"c2VjcmV0"}}}', "expected base64 of USER:PASSWORD"],
    ])("a damaged one is named, its contents are not: %s", (text, why) => {
      try {
        find(text, "h.io/x");
        expect.unreachable();
      } catch (error) {
        const { message, cause } = error as Error;
        expect(`${message}: ${(cause as Error).message}`).toContain(
          `${join(directory, "auth.json")}: `,
        );
        expect((cause as Error).message).toContain(why);
        expect((cause as Error).message).not.toContain("secret");
      }
    });

    test("a credential helper is asked", () => {
      const helper = join(directory, "docker-credential-mine");
      writeFileSync(
        helper,
        `#!/bin/sh\nread host; echo "{\\"Username\\":\\"$1\\",\\"Secret\\":\\"$host\\"}"`,
        { mode: 0o755 },
      );
      vi.stubEnv("PATH", `${directory}:${process.env.PATH}`);
      try {
        expect(find({ credHelpers: { "h.io": "mine" } }, "h.io/x")).toEqual({
          username: "get",
          password: "h.io",
        });
        expect(() => find({ credHelpers: { "h.io": "../mine" } }, "h.io/x")).toThrow();
        expect(() => find({ credHelpers: { "h.io": "none" } }, "h.io/x")).toThrow(
          expect.objectContaining({
            cause: new Error("credHelpers: docker-credential-none is not installed"),
          }),
        );
      } finally {
        vi.unstubAllEnvs();
      }
    });

    test("a store is asked for all registries; what it does not have is in the file", () => {
      writeFileSync(
        join(directory, "docker-credential-store"),
        `#!/bin/sh
        read host
        case $host in
          h.io|https://index.docker.io/v1/) echo "{\\"Username\\":\\"u\\",\\"Secret\\":\\"$host\\"}";;
          broken.io) exit 3;;
          *) echo "credentials not found in native keychain"; exit 1;;
        esac`,
        { mode: 0o755 },
      );
      vi.stubEnv("PATH", `${directory}:${process.env.PATH}`);
      try {
        const auths = { "h.io": {}, "g.io": entry("u:p") };
        const ask = (name: string) => find({ credsStore: "store", auths }, name);
        expect(ask("h.io/x")).toEqual({ username: "u", password: "h.io" });
        expect(ask("debian")).toMatchObject({ password: "https://index.docker.io/v1/" });
        expect(ask("g.io/x")).toEqual({ username: "u", password: "p" });
        expect(ask("f.io/x")).toBeUndefined();
        expect(() => ask("broken.io/x")).toThrow(
          expect.objectContaining({
            cause: new Error("docker-credential-store get: exit status 3"),
          }),
        );
        const location = parseReference("docker://h.io/x") as RegistryReference;
        const env = { HOME: directory, XDG_RUNTIME_DIR: directory };
        // as registries.conf lists them
        const helpers = ["containers-auth.json", "store"];
        expect(findCredentials(location, { helpers }, env)).toEqual({
          username: "u",
          password: "h.io",
        });
      } finally {
        vi.unstubAllEnvs();
      }
    });

    test("a file that was named must exist; the usual ones need not", () => {
      const ref = parseReference("docker://h.io/x") as RegistryReference;
      expect(() => findCredentials(ref, { authfile: join(directory, "none") })).toThrow("none");
      expect(findCredentials(ref, {}, { HOME: directory, XDG_RUNTIME_DIR: directory })).toBe(
        undefined,
      );
      expect(defaultAuthFiles({ HOME: "/h", XDG_RUNTIME_DIR: "/r" }, 1000)).toEqual([
        "/r/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
      ]);
    });
  });
});

test("a proxy of the environment is asked for other hosts, and not for the loopback", async () => {
  const asked: string[] = [];
  const proxy = createServer();
  proxy.on("connect", (request, client) => {
    asked.push(request.url ?? "");
    const [address, port] = registry.host.split(":");
    const upstream = connectTo(Number(port), address!, () => {
      client.write("HTTP/1.1 200 OK\r\n\r\n");
      upstream.pipe(client).pipe(upstream);
    });
    for (const socket of [client, upstream]) socket.on("error", () => socket.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  vi.stubEnv("http_proxy", url);
  vi.stubEnv("https_proxy", url);
  vi.stubEnv("no_proxy", "");
  try {
    registry.addManifest({}, MANIFEST, "tag");
    await (await connect()).root();
    expect(asked).toEqual([]);
    const ref = parseReference("docker://registry.test:5000/a:tag") as RegistryReference;
    const transport = await openRegistry(ref, { tlsVerify: false, retryDelay: 1 });
    open.push(transport);
    await transport.root();
    expect(new Set(asked)).toEqual(new Set(["registry.test:5000"]));
  } finally {
    vi.unstubAllEnvs();
    await Promise.all(open.splice(0).map((transport) => transport.close()));
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  }
});

describe("HTTPS", () => {
  test("certificates are checked, unless told not to", async (ctx) => {
    const directory = mkdtempSync(join(tmpdir(), "tls-"));
    try {
      const key = join(directory, "key.pem");
      const cert = join(directory, "cert.pem");
      try {
        execFileSync(
          "openssl",
          // biome-ignore format: arguments and their values
          ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
          { stdio: "ignore" },
        );
      } catch {
        return ctx.skip("needs openssl to make a certificate");
      }
      const secure = await RegistryServer.start({
        key: readFileSync(key, "utf8"),
        cert: readFileSync(cert, "utf8"),
      });
      try {
        secure.addManifest({}, MANIFEST, "tag");
        const ref = parseReference(`docker://${secure.host}/a:tag`) as RegistryReference;
        expect(await failure(openRegistry(ref, { tlsVerify: true }))).toContain("self-signed");
        const transport = await openRegistry(ref, { tlsVerify: false });
        open.push(transport);
        await transport.root();
      } finally {
        await secure.close();
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
