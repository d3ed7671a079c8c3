using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Slipway.Acceptance.Mlflow;

/// <summary>Who may do what over MLflow's protocol, with the credentials that its clients send.</summary>
public sealed class AccessTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public async Task Protected_alias_moves_only_through_the_gate_of_its_policy()
    {
        await server.RegisterIrisAsync(0.5);
        await server.RegisterIrisAsync(0.95);
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "good.yaml"),
            """
            apiVersion: slipway.dev/policy/v1
            kind: GatePolicy
            metadata: { name: good-enough }
            gates:
              - { id: accuracy, check: metric_threshold, with: { metric: accuracy, op: '>=', value: '0.9' } }
            """,
            TestContext.Current.CancellationToken);
        Assert.Equal(0, (await server.CliAsync("policy apply -f FOLDER/good.yaml")).Exit);
        var owner = $"Bearer {server.OwnerKey}";
        Assert.Equal((200, null), await SendAsync(owner, "POST", "registered-models/set-tag", """{"name":"iris","key":"slipway.policy","value":"good-enough"}"""));
        foreach (var version in (int[])[1, 2])
        {
            Assert.Equal((400, "INVALID_PARAMETER_VALUE"), await SendAsync(owner, "POST", "registered-models/alias", $$"""{"name":"iris","alias":"champion","version":"{{version}}"}"""));
            Assert.Equal((400, "INVALID_PARAMETER_VALUE"), await SendAsync(owner, "POST", "model-versions/transition-stage", $$"""{"name":"iris","version":"{{version}}","stage":"Production","archive_existing_versions":false}"""));
        }

        // The first does not pass the gate, and stays out; the second does.
        Assert.NotEqual(0, (await server.CliAsync("gate request iris/1 --policy good-enough")).Exit);
        Assert.Equal(0, (await server.CliAsync("gate request iris/2 --policy good-enough")).Exit);
        Assert.Equal((400, "INVALID_PARAMETER_VALUE"), await SendAsync(owner, "POST", "registered-models/alias", """{"name":"iris","alias":"champion","version":"1"}"""));
        Assert.Equal((200, null), await SendAsync(owner, "POST", "registered-models/alias", """{"name":"iris","alias":"champion","version":"2"}"""));
        Assert.Equal((200, null), await SendAsync(owner, "GET", "registered-models/alias?name=iris&alias=champion", null));
        Assert.Equal((200, null), await SendAsync(owner, "POST", "registered-models/alias", """{"name":"iris","alias":"challenger","version":"1"}"""));
    }

    [Fact]
    public async Task Credentials_of_the_clients_environment_are_understood()
    {
        var trainer = await server.KeyOfAsync("tom", "viewer");
        foreach (var credential in new[] { $"Bearer {trainer}", Basic("tom", trainer), Basic("anyone", trainer) })
        {
            Assert.Equal((200, null), await SendAsync(credential, "GET", "experiments/get?experiment_id=0", null));
            Assert.Equal((403, "PERMISSION_DENIED"), await SendAsync(credential, "POST", "experiments/create", """{"name":"not allowed"}"""));
            Assert.Equal((403, "PERMISSION_DENIED"), await SendAsync(credential, "PUT", "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/f", "x"));
        }

        foreach (var credential in new[] { null, "Bearer ", "Bearer slp_abcdefgh_nonsense", Basic("tom", "wrong"), Basic("", ""), "Basic ???", "Digest x" })
        {
            foreach (var prefix in (string[])["/api", "/ajax-api"])
            {
                using var request = new HttpRequestMessage(HttpMethod.Get, $"{prefix}/2.0/mlflow/experiments/get?experiment_id=0");
                request.Headers.TryAddWithoutValidation("Authorization", credential);
                using var client = server.Client(null);
                using var response = await client.SendAsync(request, TestContext.Current.CancellationToken);
                Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
                Assert.Equal("Basic realm=\"mlflow\"", response.Headers.WwwAuthenticate.ToString());
                Assert.Equal("UNAUTHENTICATED", (string?)JsonNode.Parse(await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken))!["error_code"]);
            }
        }
    }

    private static string Basic(string user, string password) => "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{password}"));

    private async Task<(int Status, string? Code)> SendAsync(string credential, string method, string path, string? json)
    {
        using var client = server.Client(null);
        using var request = new HttpRequestMessage(new HttpMethod(method), path.StartsWith('/') ? path : "/api/2.0/mlflow/" + path);
        request.Headers.Authorization = AuthenticationHeaderValue.Parse(credential);
        request.Content = json is null ? null : new StringContent(json, Encoding.UTF8, "application/json");
        using var response = await client.SendAsync(request, TestContext.Current.CancellationToken);
        return ((int)response.StatusCode, (string?)JsonNode.Parse(await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken))!["error_code"]);
    }
}
