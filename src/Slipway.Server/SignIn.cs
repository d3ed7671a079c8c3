using Microsoft.AspNetCore.Antiforgery;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Server;

/// <summary>The way into the pages where identity is demanded: an API key, or the one-time owner link of the first start.</summary>
internal static class SignIn
{
    private const string Page = """
        <!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Sign in · Slipway</title>
        <style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:100vh;margin:0}main{width:min(22rem,90vw)}h1{font-size:1.4rem}label{display:block;margin:.8rem 0 .3rem}input,button{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;border-radius:.4rem;border:1px solid #8888}button{margin-top:1rem;background:#2557c7;color:#fff;border:0}.error{color:#c62828}</style></head>
        <body><main><h1>Sign in to Slipway</h1>{error}<form method="post" action="{action}">{fields}<button type="submit">{button}</button></form></main></body></html>
        """;

    public static void MapSignIn(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/signin", (HttpContext context, IAntiforgery forgery) => Form(context, forgery, null)).OpenToAll();
        routes.MapPost("/signin", KeyAsync).OpenToAll().DisableAntiforgery();
        routes.MapGet("/owner", (HttpContext context, string? token) => OwnerForm(context, token ?? "")).OpenToAll();
        routes.MapPost("/owner", OwnerAsync).OpenToAll().DisableAntiforgery();
        routes.MapPost("/signout", (HttpContext context) =>
        {
            context.Response.Cookies.Delete(Auth.Cookie);
            return Results.Redirect("/signin");
        }).OpenToAll().DisableAntiforgery();
    }

    private static IResult Form(HttpContext context, IAntiforgery forgery, string? error) => Html(
        context,
        "/signin",
        "Sign in",
        $"""<label for="key">API key</label><input id="key" name="key" type="password" autocomplete="current-password" required autofocus>{Token(forgery, context)}""",
        error);

    private static IResult OwnerForm(HttpContext context, string token, string? error = null) => Html(
        context,
        "/owner",
        "Become the owner",
        $"""<input type="hidden" name="token" value="{System.Net.WebUtility.HtmlEncode(token)}"><label for="name">Your name</label><input id="name" name="name" autocomplete="username" required autofocus>""",
        error);

    private static string Token(IAntiforgery forgery, HttpContext context)
    {
        var tokens = forgery.GetAndStoreTokens(context);
        return $"""<input type="hidden" name="{tokens.FormFieldName}" value="{tokens.RequestToken}">""";
    }

    private static IResult Html(HttpContext context, string action, string button, string fields, string? error)
    {
        context.Response.Headers.ContentSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
        var text = Page.Replace("{action}", action, StringComparison.Ordinal)
            .Replace("{button}", button, StringComparison.Ordinal)
            .Replace("{fields}", fields, StringComparison.Ordinal)
            .Replace("{error}", error is null ? "" : $"""<p class="error" role="alert">{System.Net.WebUtility.HtmlEncode(error)}</p>""", StringComparison.Ordinal);
        return Results.Text(text, "text/html; charset=utf-8", statusCode: error is null ? 200 : 401);
    }

    private static async Task<IResult> KeyAsync(HttpContext context, IAntiforgery forgery, Access access)
    {
        if (!await forgery.IsRequestValidAsync(context))
        {
            return Form(context, forgery, "The form was out of date. Try again.");
        }

        var key = (await context.Request.ReadFormAsync(context.RequestAborted))["key"].ToString();
        if (await access.AuthenticateAsync(key, context.RequestAborted) is null)
        {
            return Form(context, forgery, "That key is not valid: unknown, expired or revoked.");
        }

        Keep(context, key);
        return Results.Redirect("/");
    }

    private static async Task<IResult> OwnerAsync(HttpContext context, Access access)
    {
        var form = await context.Request.ReadFormAsync(context.RequestAborted);
        var token = form["token"].ToString();
        try
        {
            if (await access.RedeemOwnerLinkAsync(token, form["name"].ToString(), context.RequestAborted) is { } owner)
            {
                Keep(context, owner.Key.Secret);
                return Results.Redirect("/");
            }

            return OwnerForm(context, token, "The link was used already or is older than 15 minutes. Restart the server for a new one.");
        }
        catch (SlipwayException e) when (e.Code is ErrorCode.InvalidArgument or ErrorCode.AlreadyExists)
        {
            return OwnerForm(context, token, e.Sentence);
        }
    }

    private static void Keep(HttpContext context, string key) => context.Response.Cookies.Append(
        Auth.Cookie,
        key,
        new CookieOptions { HttpOnly = true, SameSite = SameSiteMode.Lax, Secure = context.Request.IsHttps, IsEssential = true, Path = "/" });
}
