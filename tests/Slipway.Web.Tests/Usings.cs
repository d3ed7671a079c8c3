global using Bunit;
global using Microsoft.AspNetCore.Components;
global using Microsoft.Extensions.DependencyInjection;
global using Slipway.Foundation;
global using Slipway.Web.Charts;
global using Slipway.Web.Parts;
global using Xunit;
